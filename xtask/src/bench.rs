//! What the datapath costs.

use anyhow::Result;

use crate::exec;
use crate::project::Project;
use crate::{build, machine, setup};

/// What can be measured.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Section {
    /// Nanoseconds a packet by `BPF_PROG_TEST_RUN`, over the empty program
    Packet,
}

/// Measures one section, or all.
pub fn run(project: &Project, section: Option<Section>) -> Result<()> {
    machine::can_run_bpf("cargo xtask bench")?;
    setup::for_running()?;
    build::everything(project)?;
    let mut compile = project.host_cargo("build");
    exec::run("cargo build", compile.args(["--release", "--package", "sg-tests", "--bin", "sg-bench"]))?;
    match section {
        None | Some(Section::Packet) => packet(project),
    }
}

fn packet(project: &Project) -> Result<()> {
    let mut program = std::process::Command::new(project.target().join("release/sg-bench"));
    exec::run("sg-bench", program.arg("packet").arg(project.spread_object()))
}
