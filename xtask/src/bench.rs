//! What the datapath costs, and what others cost on the same machine in the same run.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::exec;
use crate::project::Project;
use crate::{build, machine, setup};

/// What is to be measured, and where the report goes.
#[derive(clap::Args)]
pub struct Args {
    /// All, where none is named
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// Where the report goes: docs/benchmarks, or target/benchmarks for a quick run
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Few iterations and small sizes: shows that everything runs, and no figure of it counts
    #[arg(long)]
    quick: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Section {
    /// Nanoseconds a packet by `BPF_PROG_TEST_RUN`
    Packet,
    /// Nanoseconds a lookup in long prefix lists
    Lists,
    /// Packets a second, TCP throughput and request latency through a veth pair
    Wire,
    /// New TCP connections a second
    Connections,
    /// How long a change takes until it is enforced
    Update,
    /// A live connection while SYN and UDP floods run
    Flood,
    /// Bytes a flow, a prefix, a port set, and the whole at rest
    Memory,
}

/// Measures and writes the report.
pub fn run(project: &Project, args: &Args) -> Result<()> {
    machine::can_run_bpf("cargo xtask bench")?;
    setup::for_running()?;
    setup::for_comparing()?;
    let sg_ctl = build::everything(project)?;
    let mut compile = project.host_cargo("build");
    exec::run("cargo build", compile.args(["--release", "--package", "sg-tests", "--bin", "sg-bench"]))?;
    let out = args.out.clone().unwrap_or_else(|| {
        if args.quick { project.target().join("benchmarks") } else { project.root.join("docs/benchmarks") }
    });
    let mut program = std::process::Command::new(project.target().join("release/sg-bench"));
    program.env("SG_CTL", sg_ctl).arg("--programs").arg(project.spread_object()).arg("--out").arg(out);
    if args.quick {
        program.arg("--quick");
    }
    let sections = if args.sections.is_empty() { Section::value_variants() } else { &args.sections };
    for section in sections {
        program.args(section.to_possible_value().map(|value| value.get_name().to_owned()));
    }
    exec::run("sg-bench", &mut program)
}
