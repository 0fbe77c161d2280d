//! A pinned map with types: what `sg-common` says lies in it.

use super::sys;
use anyhow::{Context, Result, ensure};
use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What can be a key or a value: plain bytes without padding.
pub trait Plain: FromBytes + IntoBytes + Immutable + KnownLayout + Copy {}
impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Copy> Plain for T {}

/// Elements that one batch call carries at most: bounds the memory of a walk.
const BATCH: usize = 16_384;

/// An open map.
pub struct BpfMap<K, V> {
    fd: OwnedFd,
    max_entries: u32,
    types: PhantomData<(K, V)>,
}

impl<K: Plain, V: Plain> BpfMap<K, V> {
    /// Opens the map pinned at `path`.
    ///
    /// # Errors
    /// Where nothing is pinned there, or a map of other sizes.
    pub fn open(path: &Path) -> Result<Self> {
        let fd = sys::open_pinned(path).with_context(|| format!("cannot open the map {}", path.display()))?;
        Self::new(fd).with_context(|| path.display().to_string())
    }

    /// The same to be read alone: the kernel lets nothing be written through it.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_to_read(path: &Path) -> Result<Self> {
        let fd = sys::open_pinned_map_to_read(path);
        Self::new(fd.with_context(|| format!("cannot open the map {}", path.display()))?)
            .with_context(|| path.display().to_string())
    }

    /// Creates an array of that many elements and pins it.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn create_array(path: &Path, entries: u32, name: &str) -> Result<Self> {
        Self::create(path, sys::MAP_TYPE_ARRAY, 0, entries, name)
    }

    /// Creates a hash map of at most that many elements, allocated as they come, and pins it.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn create_hash(path: &Path, entries: u32, name: &str) -> Result<Self> {
        Self::create(path, sys::MAP_TYPE_HASH, sys::NO_PREALLOC, entries, name)
    }

    fn create(path: &Path, kind: u32, flags: u32, entries: u32, name: &str) -> Result<Self> {
        let fd = sys::map_create(kind, size_of::<K>(), size_of::<V>(), entries, flags, name)
            .with_context(|| format!("cannot create the map {name}"))?;
        sys::pin(fd.as_fd(), path).with_context(|| format!("cannot pin {}", path.display()))?;
        Self::new(fd)
    }

    /// Takes over an open map.
    ///
    /// # Errors
    /// Where it is one of other sizes.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        let (key, value, max_entries) = sys::map_sizes(fd.as_fd())?;
        let sizes = (size_of::<K>() as u32, size_of::<V>() as u32);
        ensure!(
            (key, value) == sizes,
            "a map of another version: keys and values of {key} and {value} bytes, not {} and {}",
            sizes.0,
            sizes.1
        );
        Ok(Self { fd, max_entries, types: PhantomData })
    }

    /// Elements that fit.
    #[must_use]
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// How many elements there are.
    pub fn count(&self) -> io::Result<u64> {
        let mut count = 0;
        self.for_each(|_, _| count += 1)?;
        Ok(count)
    }

    /// Kernel memory that the map holds, in bytes, as /proc says it.
    pub fn memory(&self) -> io::Result<u64> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd()))?;
        let memory = info.lines().find_map(|line| line.strip_prefix("memlock:"));
        Ok(memory.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0))
    }

    /// The element of a key.
    pub fn get(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = V::new_zeroed();
        // `value` is `Plain`: any bytes that the kernel writes are one.
        Ok(sys::map_lookup(self.fd.as_fd(), key.as_bytes(), value.as_mut_bytes())?.then_some(value))
    }

    /// Writes an element.
    pub fn set(&self, key: &K, value: &V) -> io::Result<()> {
        sys::map_update(self.fd.as_fd(), key.as_bytes(), value.as_bytes())
    }

    /// Deletes an element. False where there was none.
    pub fn remove(&self, key: &K) -> io::Result<bool> {
        sys::map_delete(self.fd.as_fd(), key.as_bytes())
    }

    /// Writes many elements.
    pub fn set_all(&self, entries: &[(K, V)]) -> io::Result<()> {
        for chunk in entries.chunks(BATCH) {
            let keys: Vec<K> = chunk.iter().map(|(key, _)| *key).collect();
            let values: Vec<V> = chunk.iter().map(|(_, value)| *value).collect();
            sys::map_update_batch(self.fd.as_fd(), keys.as_bytes(), values.as_bytes(), chunk.len() as u32)?;
        }
        Ok(())
    }

    /// Deletes many elements; those that are not there are passed over.
    pub fn remove_all(&self, keys: &[K]) -> io::Result<()> {
        for chunk in keys.chunks(BATCH) {
            let mut left = chunk;
            while !left.is_empty() {
                let gone =
                    sys::map_delete_batch(self.fd.as_fd(), left.as_bytes(), left.len() as u32)? as usize;
                left = left.get(gone + usize::from(gone < left.len())..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Calls `visit` with every element. The datapath may change the map meanwhile: an element that comes or goes
    /// may be seen or not.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V)) -> io::Result<()> {
        let mut walk = Walk::new(BATCH.min(self.max_entries as usize));
        while self.walk_on(&mut walk, &mut visit)? {}
        Ok(())
    }

    /// Calls `visit` with the next elements of a walk. False where there are no more.
    pub fn walk_on(&self, walk: &mut Walk<K, V>, mut visit: impl FnMut(&K, &V)) -> io::Result<bool> {
        loop {
            let Walk { from, keys, values } = walk;
            let (room, mut next) = (keys.len(), [0; 64]);
            let answer = sys::map_lookup_batch(
                self.fd.as_fd(),
                from.as_ref(),
                &mut next,
                keys.as_mut_bytes(),
                values.as_mut_bytes(),
                room as u32,
            );
            let (count, last) = match answer {
                // A single bucket of the hash holds more than there is room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    keys.resize(2 * room, K::new_zeroed());
                    values.resize(2 * room, V::new_zeroed());
                    continue;
                }
                other => other?,
            };
            keys.iter().zip(&*values).take(count as usize).for_each(|(key, value)| visit(key, value));
            *from = Some(next);
            return Ok(!last);
        }
    }
}

/// Where a walk over a map stands.
pub struct Walk<K, V> {
    from: Option<sys::Cursor>,
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K: Plain, V: Plain> Walk<K, V> {
    /// From the start, with so many elements a step.
    #[must_use]
    pub fn new(step: usize) -> Self {
        Self { from: None, keys: vec![K::new_zeroed(); step], values: vec![V::new_zeroed(); step] }
    }

    /// Back to the start.
    pub fn rewind(&mut self) {
        self.from = None;
    }
}

impl<V: Plain> BpfMap<u32, V> {
    /// `count` elements of an array from one on.
    pub fn range(&self, first: u32, count: u32) -> io::Result<Vec<V>> {
        let mut cursor = [0; 64];
        let mut next = [0; 64];
        // A walk goes on behind the key that it was given.
        let from = first.checked_sub(1).map(|before| {
            cursor[..4].copy_from_slice(&before.to_ne_bytes());
            &cursor
        });
        let (mut keys, mut values) = (vec![0u32; count as usize], vec![V::new_zeroed(); count as usize]);
        sys::map_lookup_batch(
            self.fd.as_fd(),
            from,
            &mut next,
            keys.as_mut_bytes(),
            values.as_mut_bytes(),
            count,
        )?;
        Ok(values)
    }

    /// The first `count` elements of an array.
    pub fn head(&self, count: u32) -> io::Result<Vec<V>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        self.range(0, count)
    }

    /// The element of a per-CPU array, one value a processor.
    pub fn get_per_cpu(&self, index: u32, processors: usize) -> io::Result<Vec<V>> {
        let mut values = vec![V::new_zeroed(); processors];
        sys::map_lookup(self.fd.as_fd(), index.as_bytes(), values.as_mut_bytes())?;
        Ok(values)
    }

    /// Writes the element of a per-CPU array, the same on every processor.
    pub fn set_per_cpu(&self, index: u32, value: V, processors: usize) -> io::Result<()> {
        sys::map_update(self.fd.as_fd(), index.as_bytes(), vec![value; processors].as_bytes())
    }
}
