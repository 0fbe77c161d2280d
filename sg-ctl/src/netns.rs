//! Network namespaces: entered with setns(2), never through `ip netns exec`, whose private mounts would hide the
//! bpffs.
#![expect(unsafe_code, reason = "setns(2) has no wrapper in std")]

use crate::error::{Refusal, Result};
use anyhow::Context;
use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::PathBuf,
    sync::OnceLock,
};

/// The file that stands for a namespace: a name as `ip netns` knows it, or a path.
#[must_use]
pub fn path(name_or_path: &str) -> PathBuf {
    if name_or_path.contains('/') {
        name_or_path.into()
    } else {
        PathBuf::from("/run/netns").join(name_or_path)
    }
}

fn set(file: &File) -> io::Result<()> {
    // SAFETY: a descriptor that lives through the call; only this thread changes its namespace.
    if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Where the process was before it entered another namespace.
static ORIGIN: OnceLock<File> = OnceLock::new();

/// Enters the namespace with this thread, and with all that it starts from then on. Called before there are others.
///
/// # Errors
/// `InvalidNetworkNamespace.NotFound` where there is none of that name, and where it may not be entered.
pub fn enter(name_or_path: &str) -> Result<()> {
    if let Ok(origin) = File::open("/proc/thread-self/ns/net") {
        ORIGIN.get_or_init(|| origin);
    }
    let path = path(name_or_path);
    File::open(&path).and_then(|file| set(&file)).map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            let message = format!("cannot enter the network namespace '{name_or_path}'; run sg-ctl as root");
            return Refusal::new("UnauthorizedOperation", message).into();
        }
        Refusal::new(
            "InvalidNetworkNamespace.NotFound",
            format!(
                "cannot enter the network namespace '{name_or_path}' ({}): {error}; `ip netns` lists those there are",
                path.display()
            ),
        )
        .into()
    })
}

/// What tells a namespace from another as long as it exists; `None` where it cannot be looked at.
#[must_use]
pub fn inode(netns: Option<&str>) -> Option<u64> {
    let metadata = match (netns, ORIGIN.get()) {
        (Some(name), _) => std::fs::metadata(path(name)),
        (None, Some(origin)) => origin.metadata(),
        (None, None) => std::fs::metadata("/proc/thread-self/ns/net"),
    };
    metadata.ok().map(|metadata| metadata.ino())
}

/// Runs `work` inside the namespace: on a thread of its own, unless that is where it is. `None` is where the process was
/// started.
///
/// # Errors
/// As for [`enter`], and what `work` returns.
pub fn within<T: Send>(netns: Option<&str>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if netns.is_none() && ORIGIN.get().is_none() {
        return work();
    }
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            match (netns, ORIGIN.get()) {
                (Some(name), _) => enter(name)?,
                (None, Some(origin)) => set(origin).context("cannot return to the namespace of the start")?,
                (None, None) => {}
            }
            work()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
