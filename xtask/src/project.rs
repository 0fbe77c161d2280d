//! Where things are in this repository, and the pinned toolchain that builds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The checkout this program was built from.
pub struct Project {
    pub root: PathBuf,
    /// From rust-toolchain.toml, the one place where the version is written.
    pub channel: String,
    pub components: Vec<String>,
}

impl Project {
    pub fn find() -> Result<Self> {
        // Cargo sets it for `cargo run`; without it (the program called by hand) the current directory counts.
        let start =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(std::env::current_dir, |d| Ok(d.into()))?;
        let root = start
            .ancestors()
            .find(|dir| dir.join("rust-toolchain.toml").is_file())
            .context("no rust-toolchain.toml here or above: run this inside the repository")?
            .to_owned();
        let file = root.join("rust-toolchain.toml");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let channel =
            quoted_values(&text, "channel").pop().context("rust-toolchain.toml names no channel")?;
        let components = quoted_values(&text, "components");
        Ok(Self { root, channel, components })
    }

    pub fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// The BPF programs, as `cargo xtask build` leaves them.
    pub fn object(&self) -> PathBuf {
        self.target().join("ebpf/bpfel-unknown-none/release/sg-ebpf")
    }

    /// The benchmark's own BPF programs, made with the others.
    pub fn spread_object(&self) -> PathBuf {
        self.target().join("ebpf/bpfel-unknown-none/release/sg-spread")
    }

    /// The product.
    pub fn sg_ctl(&self) -> PathBuf {
        self.target().join("release/sg-ctl")
    }

    /// `cargo` of the pinned toolchain with nothing of the calling cargo left in its environment: flags,
    /// target and toolchain that were meant for something else would otherwise end up in our build.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new("cargo");
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_build_setting) {
                command.env_remove(name);
            }
        }
        command
            .arg(subcommand)
            .current_dir(&self.root)
            .env("RUSTUP_TOOLCHAIN", &self.channel)
            .env("CARGO_TARGET_DIR", self.target());
        command
    }

    /// Like [`Self::cargo`], for crates that embed the BPF object.
    pub fn host_cargo(&self, subcommand: &str) -> Command {
        let mut command = self.cargo(subcommand);
        command.env("SG_EBPF_OBJECT", self.object());
        command
    }
}

/// Would a variable of this name change what cargo builds, or where?
fn is_build_setting(name: &str) -> bool {
    const EXACT: [&str; 9] = [
        "CARGO",
        "CARGO_ENCODED_RUSTDOCFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ];
    const PREFIX: [&str; 5] =
        ["CARGO_BUILD_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PROFILE_", "CARGO_TARGET_"];
    EXACT.contains(&name) || PREFIX.iter().any(|prefix| name.starts_with(prefix))
}

/// The strings in double quotes on the line `key = …`: all that our own file needs of TOML.
fn quoted_values(text: &str, key: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.trim() == key)
        .flat_map(|(_, value)| value.split('"').skip(1).step_by(2).map(str::to_owned))
        .collect()
}

/// The directory for what is dear to make and outlives `cargo clean`.
pub fn cache() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: where should bpf-linker be kept?")?;
    Ok(base.join("sg-xtask"))
}

/// `path` as a person reads it: below the checkout where it is below it.
pub fn short<'a>(project: &Project, path: &'a Path) -> std::path::Display<'a> {
    path.strip_prefix(&project.root).unwrap_or(path).display()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_toolchain_file_says() {
        let text = "[toolchain]\nchannel = \"1.98.0\"\ncomponents = [\"clippy\", \"rust-src\"]\n";
        assert_eq!(quoted_values(text, "channel"), ["1.98.0"]);
        assert_eq!(quoted_values(text, "components"), ["clippy", "rust-src"]);
        assert!(quoted_values(text, "profile").is_empty());
    }

    #[test]
    fn the_callers_flags_stay_out() {
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR"] {
            assert!(is_build_setting(name), "{name}");
        }
        for name in ["CARGO_HOME", "RUSTUP_HOME", "PATH", "CARGO_NET_OFFLINE", "CARGO_TERM_COLOR"] {
            assert!(!is_build_setting(name), "{name}");
        }
    }
}
