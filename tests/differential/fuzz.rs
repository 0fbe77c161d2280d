//! `cargo xtask fuzz`: random scripts against the reference model for as long as one likes.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngSeed, TestRunner},
};
use sg_tests::{
    differential::{Lab, minimise},
    script::{Script, scripts},
};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Steps of a script at most: long ones spread the cost of a policy change over many packets.
const STEPS: usize = 20_000;

/// Runs of each script that is drawn, all but the first in another order.
const REMIXES: u64 = 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(minutes)), Some(Ok(seed))) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: sg-fuzz MINUTES SEED");
        return ExitCode::from(2);
    };
    let (start, mut lab, mut scripts_run) = (Instant::now(), Lab::new(), 0u64);
    let mut told = Instant::now();
    let config = Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let mut runner = TestRunner::new(config);
    let strategy = scripts(STEPS);
    while start.elapsed() < Duration::from_secs(minutes * 60) {
        let script = match strategy.new_tree(&mut runner) {
            Ok(tree) => tree.current(),
            Err(reason) => {
                eprintln!("no script: {reason}");
                return ExitCode::FAILURE;
            }
        };
        for remix in 0..REMIXES {
            let script = if remix == 0 { script.clone() } else { script.remixed(remix) };
            if lab.run(&script).is_err() {
                return report(&mut lab, &script, seed);
            }
            scripts_run += 1;
        }
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            println!("seed {seed}: {} packets in {scripts_run} scripts", lab.packets());
        }
    }
    println!(
        "seed {seed}: {} packets in {scripts_run} scripts and {} s, no divergence",
        lab.packets(),
        start.elapsed().as_secs()
    );
    ExitCode::SUCCESS
}

/// Shrinks the script and prints what is left, for `tests/cases`.
fn report(lab: &mut Lab, script: &Script, seed: u64) -> ExitCode {
    let smallest = minimise(lab, script);
    if let Err(divergence) = lab.run_precisely(&smallest) {
        println!("seed {seed}, step {}: {}", divergence.step, divergence.what);
    }
    match serde_json::to_string(&smallest) {
        Ok(json) => println!("as a file for tests/cases:\n{json}"),
        Err(error) => eprintln!("{error}"),
    }
    ExitCode::FAILURE
}
