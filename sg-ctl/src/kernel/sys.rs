//! The few bpf(2) commands that are called directly, each behind a safe function: maps with whole batches, test runs,
//! and what the kernel says of a link; and the one question to a device that netlink answers at length. (aya keeps the file descriptors of its typed maps to itself and has no batches.)
//!
//! Layouts follow `union bpf_attr` of the kernel's `include/uapi/linux/bpf.h`.
#![expect(unsafe_code, reason = "the system call itself")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

const MAP_CREATE: i64 = 0;
const MAP_LOOKUP_ELEM: i64 = 1;
const MAP_UPDATE_ELEM: i64 = 2;
const MAP_DELETE_ELEM: i64 = 3;
const OBJ_PIN: i64 = 6;
const OBJ_GET: i64 = 7;
const PROG_TEST_RUN: i64 = 10;
const MAP_GET_FD_BY_ID: i64 = 14;
const OBJ_GET_INFO_BY_FD: i64 = 15;
const MAP_LOOKUP_BATCH: i64 = 24;
const MAP_UPDATE_BATCH: i64 = 26;
const MAP_DELETE_BATCH: i64 = 27;
const LINK_DETACH: i64 = 34;

/// `BPF_MAP_TYPE_HASH`
pub const MAP_TYPE_HASH: u32 = 1;
/// `BPF_F_NO_PREALLOC`
pub const NO_PREALLOC: u32 = 1;
/// `BPF_MAP_TYPE_ARRAY`
pub const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;
/// `BPF_F_MMAPABLE`: the values can be mapped into memory.
pub const MAP_MMAPABLE: u32 = 1 << 10;
/// `BPF_F_INNER_MAP`: may be put into an array of arrays of other lengths.
pub const MAP_INNER: u32 = 1 << 12;
/// `BPF_MAP_TYPE_RINGBUF`
pub const MAP_TYPE_RINGBUF: u32 = 27;

/// One call. `attr` is a live, initialised prefix of `union bpf_attr`, and every pointer in it is valid for the length
/// that the command and the map's sizes say.
///
/// # Safety
/// The pointers that `attr` holds.
unsafe fn bpf<T>(command: i64, attr: &mut T) -> io::Result<i64> {
    loop {
        // SAFETY: the kernel reads and writes at most `size_of::<T>()` bytes of `attr`; the rest is the caller's word.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
        if result >= 0 {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn own(fd: i64) -> OwnedFd {
    // SAFETY: the kernel has just handed out this descriptor, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

/// Creates a map.
pub fn map_create(
    map_type: u32,
    key: usize,
    value: usize,
    max_entries: u32,
    flags: u32,
    name: &str,
) -> io::Result<OwnedFd> {
    let mut attr = CreateAttr {
        map_type,
        key_size: key as u32,
        value_size: value as u32,
        max_entries,
        map_flags: flags,
        ..CreateAttr::default()
    };
    let shown = name.len().min(15);
    attr.map_name[..shown].copy_from_slice(&name.as_bytes()[..shown]);
    // SAFETY: no pointers.
    unsafe { bpf(MAP_CREATE, &mut attr) }.map(own)
}

#[repr(C)]
#[derive(Default)]
struct ObjectAttr {
    pathname: u64,
    fd: u32,
    file_flags: u32,
}

fn object(command: i64, path: &Path, fd: u32, file_flags: u32) -> io::Result<i64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr { pathname: path.as_ptr() as u64, fd, file_flags };
    // SAFETY: `path` is a C string that outlives the call.
    unsafe { bpf(command, &mut attr) }
}

/// Pins an object below a bpffs.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    object(OBJ_PIN, path, fd.as_raw_fd() as u32, 0).map(drop)
}

/// Opens what is pinned there.
pub fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    object(OBJ_GET, path, 0, 0).map(own)
}

/// `BPF_F_RDONLY`
const READ_ONLY: u32 = 1 << 3;

/// Opens the map that is pinned there, to be read alone.
pub fn open_pinned_map_to_read(path: &Path) -> io::Result<OwnedFd> {
    object(OBJ_GET, path, 0, READ_ONLY).map(own)
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next: u32,
    flags: u32,
}

/// Opens the map of that id, which is what an array of maps says of the map in one of its places.
pub fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = IdAttr { id, ..IdAttr::default() };
    // SAFETY: no pointers.
    unsafe { bpf(MAP_GET_FD_BY_ID, &mut attr) }.map(own)
}

#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Whether the error says that there is no such element.
fn absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}

/// Reads an element into `value`, which has the size that the map's values have, on all processors where it is a
/// per-CPU map. False where there is none.
pub fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        ..ElementAttr::default()
    };
    // SAFETY: the callers, `super::map`, give buffers of the sizes that they checked against the map.
    match unsafe { bpf(MAP_LOOKUP_ELEM, &mut attr) } {
        Ok(_) => Ok(true),
        Err(error) if absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes an element.
pub fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        ..ElementAttr::default()
    };
    // SAFETY: as in `map_lookup`; the kernel only reads the buffers.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Deletes an element. False where there was none.
pub fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    let mut attr =
        ElementAttr { map_fd: map.as_raw_fd() as u32, key: key.as_ptr() as u64, ..ElementAttr::default() };
    // SAFETY: as in `map_update`.
    match unsafe { bpf(MAP_DELETE_ELEM, &mut attr) } {
        Ok(_) => Ok(true),
        Err(error) if absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Where a walk over a map stands. Hash maps need four bytes, others a key; the longest key is 40.
pub type Cursor = [u8; 64];

/// Reads up to `count` elements from where the walk stands. Returns how many came and whether that was the last.
pub fn map_lookup_batch(
    map: BorrowedFd<'_>,
    from: Option<&Cursor>,
    next: &mut Cursor,
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, bool)> {
    let mut attr = BatchAttr {
        in_batch: from.map_or(0, |cursor| cursor.as_ptr() as u64),
        out_batch: next.as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map_fd: map.as_raw_fd() as u32,
        ..BatchAttr::default()
    };
    // SAFETY: the callers give room for `count` keys and values of the map's sizes.
    match unsafe { bpf(MAP_LOOKUP_BATCH, &mut attr) } {
        Ok(_) => Ok((attr.count, false)),
        Err(error) if absent(&error) => Ok((attr.count, true)),
        Err(error) => Err(error),
    }
}

/// Writes `count` elements.
pub fn map_update_batch(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], count: u32) -> io::Result<()> {
    let mut attr = BatchAttr {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count,
        map_fd: map.as_raw_fd() as u32,
        ..BatchAttr::default()
    };
    // SAFETY: as in `map_lookup_batch`; the kernel only reads the buffers.
    unsafe { bpf(MAP_UPDATE_BATCH, &mut attr) }.map(drop)
}

/// Deletes elements from the front of `keys`. Returns how many went before the first that was not there.
pub fn map_delete_batch(map: BorrowedFd<'_>, keys: &[u8], count: u32) -> io::Result<u32> {
    let mut attr = BatchAttr {
        keys: keys.as_ptr() as u64,
        count,
        map_fd: map.as_raw_fd() as u32,
        ..BatchAttr::default()
    };
    // SAFETY: as in `map_update_batch`.
    match unsafe { bpf(MAP_DELETE_BATCH, &mut attr) } {
        Ok(_) => Ok(count),
        Err(error) if absent(&error) => Ok(attr.count),
        Err(error) => Err(error),
    }
}

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

fn info<const N: usize>(fd: BorrowedFd<'_>) -> io::Result<[u32; N]> {
    let mut words = [0u32; N];
    let mut attr = InfoAttr {
        bpf_fd: fd.as_raw_fd() as u32,
        info_len: size_of_val(&words) as u32,
        info: words.as_mut_ptr() as u64,
    };
    // SAFETY: `words` has the length that the attribute says, and any bytes are words.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(words)
}

/// Sizes of a map: key, value, entries at most.
pub fn map_sizes(fd: BorrowedFd<'_>) -> io::Result<(u32, u32, u32)> {
    // struct bpf_map_info: type, id, key_size, value_size, max_entries, …
    let words = info::<6>(fd)?;
    Ok((words[2], words[3], words[4]))
}

/// What a link holds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Id of the program behind it.
    pub program: u32,
    /// Index of the device; 0 where the device is gone.
    pub ifindex: u32,
}

/// What the kernel says of an XDP or tcx link.
pub fn link_info(fd: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    // struct bpf_link_info: type, id, prog_id, padding to 8, then ifindex for both kinds.
    let words = info::<8>(fd)?;
    Ok(LinkInfo { program: words[2], ifindex: words[4] })
}

#[repr(C)]
struct DetachAttr {
    link_fd: u32,
}

/// Takes the link off its device at once. (Removing its pin would do so too, at some later moment.)
pub fn link_detach(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = DetachAttr { link_fd: fd.as_raw_fd() as u32 };
    // SAFETY: no pointers.
    unsafe { bpf(LINK_DETACH, &mut attr) }.map(drop)
}

#[repr(C)]
#[derive(Default)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// Runs an XDP or TC program once over a frame. Returns what the program returned.
///
/// The kernel answers `EINVAL` for frames too short for the hook (14 bytes, and an IP header behind an IP ethertype
/// at TC).
pub fn test_run(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<u32> {
    let mut attr = TestRunAttr {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: 1,
        ..TestRunAttr::default()
    };
    // SAFETY: the kernel reads `frame` and writes nothing back but the attribute.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
    Ok(attr.retval)
}

/// Waits until every program that runs now has ended: membarrier(2)'s global command waits for an RCU grace period
/// (kernel/sched/membarrier.c), within which programs run. Kernels with `nohz_full` processors refuse it.
pub fn wait_for_grace_period() -> io::Result<()> {
    // SAFETY: no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS) => wait_by_map_of_maps(),
        _ => Err(error),
    }
}

/// The same by another way: an update of an array of maps returns only after a grace period, so that no program holds
/// the old inner map (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c).
fn wait_by_map_of_maps() -> io::Result<()> {
    let inner = map_create(MAP_TYPE_ARRAY, 4, 4, 1, 0, "SG_WAIT_INNER")?;
    let mut attr = CreateAttr {
        map_type: MAP_TYPE_ARRAY_OF_MAPS,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        inner_map_fd: inner.as_raw_fd() as u32,
        ..CreateAttr::default()
    };
    // SAFETY: no pointers.
    let outer = unsafe { bpf(MAP_CREATE, &mut attr) }.map(own)?;
    map_update(outer.as_fd(), &0u32.to_ne_bytes(), &inner.as_raw_fd().to_ne_bytes())
}

/// `struct ifreq`, as SIOCGIFINDEX fills it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    index: i32,
    rest: [u8; 20],
}

/// The kernel's index of the device of that name, in the namespace of a socket of whatever kind; `None` where there is
/// none.
pub fn ifindex(socket: BorrowedFd<'_>, name: &str) -> io::Result<Option<u32>> {
    let mut request = InterfaceRequest { name: [0; libc::IFNAMSIZ], index: 0, rest: [0; 20] };
    // Longer names are none that a device can have; the last byte stays zero.
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Ok(None);
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the kernel reads and writes one `struct ifreq` of 40 bytes, which `request` is.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request) };
    match result {
        0.. => Ok(u32::try_from(request.index).ok()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            error => Err(error),
        },
    }
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_wait_for_a_grace_period_work() {
        wait_for_grace_period().unwrap();
        wait_by_map_of_maps().unwrap();
    }
}
