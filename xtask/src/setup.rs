//! Installs what a command needs and the machine lacks: the pinned toolchain, Debian packages and bpf-linker.
//!
//! Every step first asks whether there is anything to do, cheaply, so that a second run costs nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::exec::{self, ask, say, which};
use crate::machine::is_root;
use crate::project::{self, Project};

const LINKER_VERSION: &str = "0.13.0";
/// Must be at least the LLVM inside the pinned rustc: an older one cannot read its bitcode.
const LLVM: u32 = 22;

/// A program, and the Debian packages that bring it.
type Tool = (&'static str, &'static [&'static str]);

/// For SQLite, which comes as C source (gcc alone only recommends the C headers).
const C_COMPILER: Tool = ("cc", &["gcc", "libc6-dev"]);
/// For making namespaces and links.
const IP: Tool = ("ip", &["iproute2"]);
/// What tests hold the agent's unit and its metrics against.
const FOR_TESTS: [Tool; 4] = [
    ("systemd-analyze", &["systemd"]),
    ("setpriv", &["util-linux"]),
    ("prometheus", &["prometheus"]),
    ("promtool", &["prometheus"]),
];
/// What the benchmarks compare with, empty between two runs, and switch offloads off with.
const PEERS: [Tool; 5] = [
    ("nft", &["nftables"]),
    ("iptables", &["iptables"]),
    ("ipset", &["ipset"]),
    ("conntrack", &["conntrack"]),
    ("ethtool", &["ethtool"]),
];

/// Everything that building needs. Returns where the BPF linker is.
pub fn for_build(project: &Project) -> Result<PathBuf> {
    toolchain(project)?;
    tools(&[C_COMPILER])?;
    linker(project)
}

/// Everything that running what was built needs, in tests and demo.
pub fn for_running() -> Result<()> {
    tools(&[IP])
}

/// What tests alone need.
pub fn for_testing() -> Result<()> {
    tools(&FOR_TESTS)
}

/// What benchmarks need beside it.
pub fn for_comparing() -> Result<()> {
    tools(&PEERS)
}

fn toolchain(project: &Project) -> Result<()> {
    let missing = match installed_components(&project.channel) {
        Some(list) => {
            project.components.iter().any(|wanted| !list.lines().any(|have| have.starts_with(wanted)))
        }
        None => true,
    };
    if !missing {
        return Ok(());
    }
    let channel = &project.channel;
    if which("rustup").is_none() {
        bail!(
            "rustup is missing, and with it Rust {channel}: install it from https://rustup.rs and run this again"
        );
    }
    say(format_args!("installing Rust {channel} with {}", project.components.join(", ")));
    let mut command = Command::new("rustup");
    command.args(["toolchain", "install", channel, "--profile", "minimal", "--no-self-update"]);
    for component in &project.components {
        command.args(["--component", component]);
    }
    exec::run("rustup toolchain install", &mut command)
}

/// rustup's own list of what the toolchain holds, read without starting rustup.
fn installed_components(channel: &str) -> Option<String> {
    let home = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".rustup")))?;
    let prefix = format!("{channel}-{}-", std::env::consts::ARCH);
    let toolchain = fs::read_dir(home.join("toolchains"))
        .ok()?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))?;
    fs::read_to_string(toolchain.path().join("lib/rustlib/components")).ok()
}

fn tools(wanted: &[Tool]) -> Result<()> {
    let packages: Vec<&str> = wanted
        .iter()
        .filter(|(program, _)| which(program).is_none())
        .flat_map(|(_, names)| *names)
        .copied()
        .collect();
    if packages.is_empty() { Ok(()) } else { install(&packages) }
}

/// Installs Debian packages, or says in one sentence who has to.
fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if which("apt-get").is_none() {
        bail!(
            "missing here: {names} (Debian's names); install them with this system's package manager and run this again"
        );
    }
    if !is_root() {
        bail!("missing here: {names}; run `sudo apt-get install {names}`, then this again");
    }
    say("apt-get update");
    exec::run("apt-get update", Command::new("apt-get").args(["update", "-qq"]))?;
    for package in packages {
        if ask(Command::new("apt-cache").args(["show", "--no-all-versions", package]))
            .is_none_or(|text| text.is_empty())
        {
            bail!(
                "apt knows no package {package} here: add a source that has it (for LLVM {LLVM}: Debian's security \
                 archive, or https://apt.llvm.org) and run this again"
            );
        }
    }
    say(format_args!("installing {names}"));
    let mut command = Command::new("apt-get");
    command.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    exec::run("apt-get install", &mut command)
}

/// The BPF linker, from the cache or built into it.
fn linker(project: &Project) -> Result<PathBuf> {
    let root = project::cache()?.join(format!("bpf-linker-{LINKER_VERSION}"));
    let program = root.join("bin/bpf-linker");
    // Running it also shows that the LLVM library it was linked with is still there.
    if runs(&program) {
        return Ok(program);
    }
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{LLVM}"));
    if !prefix.join("bin/llvm-config").exists() {
        install(&[&format!("llvm-{LLVM}-dev")])?;
        if runs(&program) {
            return Ok(program);
        }
    }
    say(format_args!("building bpf-linker {LINKER_VERSION} once, into {} (some minutes)", root.display()));
    let mut command = project.cargo("install");
    command
        .args(["bpf-linker", "--version", LINKER_VERSION, "--locked", "--force", "--no-default-features"])
        .args(["--features", &format!("llvm-{LLVM}")])
        .arg("--root")
        .arg(&root)
        // Not below `target`: cargo takes a temporary directory and removes it.
        .env_remove("CARGO_TARGET_DIR")
        .env("LLVM_PREFIX", &prefix);
    exec::run("building bpf-linker", &mut command)?;
    if !runs(&program) {
        bail!("bpf-linker was built but does not run: try `{} --version`", program.display());
    }
    Ok(program)
}

fn runs(program: &Path) -> bool {
    program.exists()
        && ask(Command::new(program).arg("--version")).is_some_and(|text| text.contains(LINKER_VERSION))
}
