//! What the machine itself must have before packets can be judged on it. Nothing here can be installed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, bail};

/// Are we root? The owner of our own `/proc` entry is our effective user.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

/// Fails with one sentence when BPF programs cannot be loaded and attached here.
pub fn can_run_bpf(command: &str) -> Result<()> {
    if !is_root() {
        bail!(
            "`{command}` loads BPF programs and makes network namespaces: run it as root (sudo -E {command})"
        );
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        bail!(
            "this kernel has no type information (/sys/kernel/btf/vmlinux): run one built with \
             CONFIG_DEBUG_INFO_BTF=y, as Debian 12 and Ubuntu 22.04 and later have"
        );
    }
    // A kernel that cannot be asked is not refused here: sg-ctl will say what it misses.
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_else(|_| "\tbpf".to_owned());
    if !filesystems.lines().any(|line| line.trim_start_matches("nodev").trim() == "bpf") {
        bail!("this kernel knows no bpf file system: run one built with CONFIG_BPF_SYSCALL=y");
    }
    Ok(())
}
