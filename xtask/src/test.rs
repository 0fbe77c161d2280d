//! All checks of a change in the order in which they fail fastest.

use std::path::Path;

use anyhow::Result;

use crate::exec::{self, say};
use crate::project::Project;
use crate::{build, machine, setup};

/// Formatting, lints, build and every test.
pub fn run(project: &Project, filter: &[String]) -> Result<()> {
    machine::can_run_bpf("cargo xtask test")?;
    let linker = setup::for_build(project)?;
    setup::for_running()?;
    setup::for_testing()?;
    // Benchmarks are run as tests, shortly.
    setup::for_comparing()?;
    format_and_lints(project, &linker)?;
    let sg_ctl = build::product(project)?;
    say("running the tests");
    let mut tests = project.host_cargo("test");
    tests.args(["--release", "--workspace", "--exclude", "sg-ebpf", "--no-fail-fast"]).env("SG_CTL", sg_ctl);
    if !filter.is_empty() {
        tests.arg("--").args(filter);
    }
    exec::run("cargo test", &mut tests)
}

/// Formatting and lints.
pub fn check(project: &Project) -> Result<()> {
    let linker = setup::for_build(project)?;
    format_and_lints(project, &linker)
}

fn format_and_lints(project: &Project, linker: &Path) -> Result<()> {
    say("checking formatting");
    exec::run("cargo fmt --check", project.cargo("fmt").args(["--all", "--check"]))?;
    // The lints of sg-ctl need the object, which it embeds.
    build::object(project, linker)?;
    say("checking lints");
    // The release profile shares what it compiles with the build and the tests.
    let mut bpf = build::bpf_cargo(project, linker, "clippy");
    exec::run("clippy of the BPF programs", bpf.args(["--release", "--", "-D", "warnings"]))?;
    let mut host = project.host_cargo("clippy");
    host.args(["--release", "--workspace", "--exclude", "sg-ebpf", "--all-targets", "--", "-D", "warnings"]);
    exec::run("clippy", &mut host)
}
