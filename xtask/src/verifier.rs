//! What every program costs the verifier and the kernel: a growth of more than a tenth fails until it is acknowledged.

use anyhow::Result;

use crate::exec;
use crate::project::Project;
use crate::{build, machine, setup};

/// Reports, and compares with the record of this kernel or rewrites it.
pub fn run(project: &Project, acknowledge: bool) -> Result<()> {
    machine::can_run_bpf("cargo xtask verifier")?;
    let linker = setup::for_build(project)?;
    build::object(project, &linker)?;
    let mut compile = project.host_cargo("build");
    exec::run("cargo build", compile.args(["--release", "--package", "sg-tests", "--bin", "sg-verifier"]))?;
    let mut program = std::process::Command::new(project.target().join("release/sg-verifier"));
    program.arg(project.root.join("docs/verifier"));
    if acknowledge {
        program.arg("--acknowledge");
    }
    exec::run("sg-verifier", &mut program)
}
