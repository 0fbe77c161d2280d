//! Builds the BPF object, then the one binary that carries it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::exec::{self, say};
use crate::project::{Project, short};
use crate::setup;

/// Set-up, object and `target/release/sg-ctl`; returns the latter's path.
pub fn everything(project: &Project) -> Result<PathBuf> {
    let linker = setup::for_build(project)?;
    object(project, &linker)?;
    let sg_ctl = product(project)?;
    say(format_args!("built {}", short(project, &sg_ctl)));
    Ok(sg_ctl)
}

/// The BPF programs: `Project::object`.
pub fn object(project: &Project, linker: &Path) -> Result<()> {
    say("building the BPF programs");
    exec::run("building the BPF programs", bpf_cargo(project, linker, "build").arg("--release"))
}

/// The release binary of sg-ctl with the object inside.
pub fn product(project: &Project) -> Result<PathBuf> {
    say("building sg-ctl");
    exec::run(
        "building sg-ctl",
        project.host_cargo("build").args(["--release", "-p", "sg-ctl", "--bin", "sg-ctl"]),
    )?;
    Ok(project.sg_ctl())
}

/// A cargo command for the crate that runs in the kernel.
///
/// `RUSTC_BOOTSTRAP` lets the pinned stable compiler build `core` for a target that ships without it.
/// Debug information becomes the BTF that maps and verifier messages need.
pub fn bpf_cargo(project: &Project, linker: &Path, subcommand: &str) -> Command {
    let mut linker_flag = OsString::from("linker=");
    linker_flag.push(linker);
    let codegen = ["debuginfo=2", "link-arg=--btf", "target-cpu=v3"].map(OsString::from);
    let mut flags = OsString::new();
    for (index, value) in codegen.into_iter().chain([linker_flag]).enumerate() {
        // The encoded form keeps a cache path with blanks in one piece.
        flags.push(if index == 0 { "-C\x1f" } else { "\x1f-C\x1f" });
        flags.push(value);
    }
    let mut command = project.cargo(subcommand);
    command
        .args(["-p", "sg-ebpf", "--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(project.target().join("ebpf"))
        .env("RUSTC_BOOTSTRAP", "1")
        // Whatever the caller's cargo is set to: other units of compilation are other programs to the verifier.
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_ENCODED_RUSTFLAGS", flags);
    command
}
