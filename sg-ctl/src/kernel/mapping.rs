//! The values of an array that lie in this process's memory too.
#![expect(unsafe_code, reason = "mmap(2)")]

use std::{
    io,
    ops::Deref,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::AtomicU64,
};

/// The memory of an array that was created with `BPF_F_MMAPABLE`, as words. Programs read it at the same time, so each
/// word is read and written whole.
pub struct Mapping {
    words: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the memory is the process's, not a thread's, and atomics may be used from any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `count` words of the array's values. A value whose size is not a multiple of eight bytes is followed by
    /// padding up to one.
    ///
    /// # Errors
    /// Where the kernel refuses: the array has another flag, or is smaller.
    pub fn new(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let (length, fd) = (count * size_of::<AtomicU64>(), map.as_raw_fd());
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(memory.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { words, count })
    }
}

impl Deref for Mapping {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: mapped at the start of a page, for this length, until `self` is dropped; any bytes are words. What
        // others do to the memory are loads and stores of whole aligned words or parts of them.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; no reference into it outlives `self`.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.count * size_of::<AtomicU64>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{BpfMap, sys},
        *,
    };
    use std::{os::fd::AsFd, sync::atomic::Ordering};

    #[test]
    fn what_is_written_to_memory_is_in_the_map_and_the_reverse() {
        let create = |flags| sys::map_create(sys::MAP_TYPE_ARRAY, 4, 8, 1024, flags, "SG_MAPPED").unwrap();
        let fd = create(sys::MAP_MMAPABLE);
        let mapping = Mapping::new(fd.as_fd(), 1024).unwrap();
        let map = BpfMap::<u32, u64>::new(fd.try_clone().unwrap()).unwrap();
        mapping[1023].store(7, Ordering::Relaxed);
        assert_eq!(map.get(&1023).unwrap(), Some(7));
        map.set(&1, &8).unwrap();
        assert_eq!(mapping[1].load(Ordering::Relaxed), 8);
        assert!(Mapping::new(fd.as_fd(), 1 << 20).is_err(), "longer than the map");
        assert!(Mapping::new(create(0).as_fd(), 1024).is_err(), "of a map that cannot be mapped");
    }
}
