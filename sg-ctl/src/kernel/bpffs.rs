//! The directory below a bpffs where programs, links and maps are pinned.

use crate::error::{Refusal, Result};
use anyhow::Context;
use std::{
    ffi::CString,
    io,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
};

/// Magic number of the bpffs, `include/uapi/linux/magic.h`.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Where distributions mount it.
const STANDARD: &str = "/sys/fs/bpf";

/// Whether the path lies on a bpffs.
#[expect(unsafe_code, reason = "statfs(2) has no wrapper in std")]
fn is_bpffs(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all zero bytes are a `statfs`, and the path is a C string that outlives the call.
    let (result, stat) = unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        (libc::statfs(path.as_ptr(), &raw mut stat), stat)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(stat.f_type == BPF_FS_MAGIC) }
}

#[expect(unsafe_code, reason = "mount(2) has no wrapper in std")]
fn mount(at: &Path) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    // SAFETY: C strings that outlive the call, and no data.
    let result = unsafe { libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The nearest directory at or above `dir` that exists.
fn existing(dir: &Path) -> PathBuf {
    dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

/// Makes sure that `dir` exists below a bpffs, mounting one where there is none.
///
/// # Errors
/// `BpffsUnavailable` where it would have to be mounted in a mount namespace that is not process 1's: the mount, and
/// everything pinned in it, would vanish with the namespace.
pub fn prepare(dir: &Path) -> Result<()> {
    let refuse = |message: String| Refusal::new("BpffsUnavailable", message);
    let above = existing(dir);
    if !is_bpffs(&above).map_err(|error| refuse(format!("{}: {error}", above.display())))? {
        let at = if dir.starts_with(STANDARD) { Path::new(STANDARD) } else { dir };
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt"));
        // What cannot be read counts as the same: only what is known to be another is refused.
        let differs = matches!((namespace("self"), namespace("1")), (Ok(own), Ok(first)) if own != first);
        if differs {
            return Err(refuse(format!(
                "{} is not below a bpffs, and one mounted from here would vanish with this mount namespace; run \
                 `mount -t bpf bpf {}` in the host's, and use --netns instead of `ip netns exec`",
                dir.display(),
                at.display()
            ))
            .into());
        }
        std::fs::create_dir_all(at)
            .map_err(|error| refuse(format!("cannot create {}: {error}", at.display())))?;
        mount(at).map_err(|error| {
            refuse(format!(
                "cannot mount a bpffs on {}: {error}; run as root, or mount it first",
                at.display()
            ))
        })?;
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot create {}", dir.display()))
}
