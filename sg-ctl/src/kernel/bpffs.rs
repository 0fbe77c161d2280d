//! The directory below a bpffs where programs, links and maps are pinned.

use crate::error::{Refusal, Result};
use anyhow::Context;
use std::{
    ffi::CString,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt},
    },
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
    // SAFETY: C strings that outlive the call.
    let result = unsafe {
        libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), 0, c"mode=0700".as_ptr().cast())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Removes the directory, and a bpffs that was mounted on it.
pub fn remove(dir: &Path) -> Result<()> {
    let removed = fs::remove_dir(dir).or_else(|error| {
        if error.kind() != io::ErrorKind::ResourceBusy {
            return Err(error);
        }
        if dir == Path::new(STANDARD) {
            // Everybody's, even where it was given as --bpffs itself.
            return Ok(());
        }
        unmount(dir)?;
        fs::remove_dir(dir)
    });
    removed.with_context(|| dir.display().to_string())
}

#[expect(unsafe_code, reason = "umount(2) has no wrapper in std")]
fn unmount(at: &Path) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    // Lazily: this process still has the directory open as its lock.
    // SAFETY: a C string that outlives the call.
    let result = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The nearest directory at or above `dir` that exists.
fn existing(dir: &Path) -> PathBuf {
    dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

/// Refuses a directory that another user made or may change: whoever can rename what is pinned in it decides what is
/// enforced. (Distributions mount the bpffs so that every user may make directories in it.)
///
/// # Errors
/// `UnsafeDirectory`
pub fn check_owner(dir: &Path) -> Result<()> {
    let made = fs::metadata(dir).with_context(|| dir.display().to_string())?;
    let us = fs::metadata("/proc/self").context("cannot read /proc")?.uid();
    const OTHERS_WRITE: u32 = 0o022;
    if (made.uid() != us && made.uid() != 0) || made.mode() & OTHERS_WRITE != 0 {
        let message = format!(
            "{} belongs to user {} with mode {:o}, and others could change what is enforced; remove it, or give \
             another --bpffs",
            dir.display(),
            made.uid(),
            made.mode() & 0o7777
        );
        return Err(Refusal::new("UnsafeDirectory", message).into());
    }
    Ok(())
}

/// Makes sure that `dir` exists below a bpffs, mounting one where there is none. Returns whether `dir` is new.
///
/// # Errors
/// `BpffsUnavailable` where it would have to be mounted in a mount namespace that is known not to be process 1's: the
/// mount, and everything pinned in it, would vanish with the namespace. `UnsafeDirectory` as for [`check_owner`].
pub fn prepare(dir: &Path) -> Result<bool> {
    let refuse = |message: String| Refusal::new("BpffsUnavailable", message);
    let above = existing(dir);
    if !above.is_dir() {
        return Err(refuse(format!("{} is not a directory; give another --bpffs", above.display())).into());
    }
    if !is_bpffs(&above).map_err(|error| refuse(format!("{}: {error}", above.display())))? {
        mount_for(dir)?;
    }
    let is_new = !dir.exists();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let message = format!("cannot create {}: {error}; run sg-ctl as root", dir.display());
            Refusal::new("UnauthorizedOperation", message)
        }
        _ => refuse(format!("cannot create {}: {error}", dir.display())),
    })?;
    check_owner(dir)?;
    Ok(is_new)
}

/// Mounts a bpffs that `dir` is below: on the standard place, or on `dir` itself.
fn mount_for(dir: &Path) -> Result<()> {
    let refuse = |message: String| Refusal::new("BpffsUnavailable", message);
    let at = if dir.starts_with(STANDARD) { Path::new(STANDARD) } else { dir };
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt"));
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
    fs::create_dir_all(at).map_err(|error| refuse(format!("cannot create {}: {error}", at.display())))?;
    mount(at).map_err(|error| {
        let message =
            format!("cannot mount a bpffs on {}: {error}; run as root, or mount it first", at.display());
        refuse(message).into()
    })
}
