//! The datapath against the reference model: random scripts, and every script that once told them apart.

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use sg_tests::{
    differential::{Lab, minimise},
    script::{Script, scripts},
};
use std::cell::RefCell;

/// Packets that the test command compares at least.
const PACKETS: u64 = 3_000_000;
/// Steps of a script at most.
const STEPS: usize = 4_000;
/// Runs of each script, all but the first in another order.
const REMIXES: u64 = 10;

#[test]
fn every_script_that_once_diverged_agrees_now() {
    let mut lab = Lab::new();
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
    let mut cases: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    cases.sort();
    assert!(!cases.is_empty(), "no case in {dir}");
    for case in cases {
        let script: Script = serde_json::from_str(&std::fs::read_to_string(&case).unwrap()).unwrap();
        if let Err(divergence) = lab.run_precisely(&script) {
            panic!("{} at step {}: {}", case.display(), divergence.step, divergence.what);
        }
    }
}

#[test]
fn random_scripts_agree_with_the_reference_model() {
    let (lab, diverged) = (RefCell::new(Lab::new()), RefCell::new(None));
    let mut seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
    while lab.borrow().packets() < PACKETS {
        seed = seed.wrapping_add(1);
        let config = Config {
            cases: 8,
            rng_seed: RngSeed::Fixed(seed),
            failure_persistence: None,
            max_shrink_iters: 0,
            ..Config::default()
        };
        let strategy = scripts(STEPS);
        let outcome = TestRunner::new(config).run(&strategy, |script| {
            for remix in 0..REMIXES {
                let script = if remix == 0 { script.clone() } else { script.remixed(remix) };
                lab.borrow_mut().run(&script).map_err(|divergence| {
                    *diverged.borrow_mut() = Some(script);
                    TestCaseError::fail(format!("step {}: {}", divergence.step, divergence.what))
                })?;
            }
            Ok(())
        });
        if let Err(TestError::Fail(reason, _)) = outcome {
            let script = diverged.take().unwrap();
            let smallest = minimise(&mut lab.borrow_mut(), &script);
            let json = serde_json::to_string(&smallest).unwrap();
            panic!("seed {seed}: {reason}\nas a file for tests/cases:\n{json}");
        }
    }
    println!("{} packets compared", lab.borrow().packets());
}
