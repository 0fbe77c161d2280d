//! The datapath against the reference model at length, on every processor.

use std::{process::Child, thread};

use anyhow::{Context, Result, bail};

use crate::exec::{self, say};
use crate::project::Project;
use crate::{build, machine, setup};

/// Runs one comparison a processor for that many minutes, each with a seed of its own.
pub fn run(project: &Project, minutes: u64, seed: u64) -> Result<()> {
    machine::can_run_bpf("cargo xtask fuzz")?;
    setup::for_running()?;
    build::everything(project)?;
    let mut compile = project.host_cargo("build");
    exec::run("cargo build", compile.args(["--release", "--package", "sg-tests", "--bin", "sg-fuzz"]))?;
    let program = project.target().join("release/sg-fuzz");
    let processors = thread::available_parallelism().map_or(1, usize::from) as u64;
    say(format_args!("comparing for {minutes} minutes on {processors} processors, seeds from {seed}"));
    let started: Result<Vec<Child>> = (seed..seed + processors)
        .map(|seed| {
            let mut command = std::process::Command::new(&program);
            command.args([minutes.to_string(), seed.to_string()]).spawn().context("cannot start sg-fuzz")
        })
        .collect();
    let mut diverged = 0;
    for mut child in started? {
        diverged += u32::from(!child.wait().context("sg-fuzz")?.success());
    }
    if diverged > 0 {
        bail!(
            "{diverged} of {processors} comparisons diverged: keep what they printed as files in tests/cases"
        );
    }
    Ok(())
}
