//! What lies in the shared policy maps: port sets, classes and address tables by the hash of their content.
//!
//! The ledger lies in a pinned array beside the map that it describes, so that it lives and dies with it. Each entry
//! has two stamps, one for generations of either parity; generation `g` refers to an entry exactly where
//! `stamps[g & 1] == g`. A build stamps what it refers to before its generation goes live, which leaves the stamps of
//! the live one alone: whichever way a crash falls, what the live generation refers to can be told from what is left
//! over.

use super::map::BpfMap;
use anyhow::{Context, Result};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Hash of an object's content.
pub type ContentHash = [u64; 2];

/// Hashes by content, never by kernel numbers, so that equal things are found again whatever numbers they have.
pub fn content_hash(content: &impl Hash) -> ContentHash {
    [1u64, 2].map(|seed| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        content.hash(&mut hasher);
        hasher.finish()
    })
}

/// One object in a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Entry {
    /// Of the content; zero while it is being written.
    hash: ContentHash,
    /// Generations that refer to it, by parity.
    stamps: [u64; 2],
}

/// The ledger of one kind of object. Number 0 is never given out: its entry holds how many numbers were ever in use.
pub struct Ledger {
    map: BpfMap<u32, Entry>,
    what: &'static str,
    reserved: u32,
    entries: Vec<Entry>,
    by_hash: HashMap<ContentHash, u32>,
    free: Vec<u32>,
    touched: Vec<u32>,
    fresh: Vec<u32>,
    disowned: Vec<u32>,
}

impl Ledger {
    /// Opens the ledger pinned at `path`, or makes one. Numbers below `reserved` are never given out.
    ///
    /// # Errors
    /// Where the map cannot be made or opened.
    pub fn open_or_create(path: &Path, capacity: u32, reserved: u32, what: &'static str) -> Result<Self> {
        let map = if path.exists() {
            BpfMap::open(path)?
        } else {
            BpfMap::create_array(path, capacity, "SG_LEDGER")?
        };
        let mut ledger = Self {
            map,
            what,
            reserved: reserved.max(1),
            entries: Vec::new(),
            by_hash: HashMap::new(),
            free: Vec::new(),
            touched: Vec::new(),
            fresh: Vec::new(),
            disowned: Vec::new(),
        };
        let used = ledger.map.get(&0)?.map_or(0, |entry| entry.stamps[0]) as u32;
        ledger.entries = ledger.map.head(used.max(ledger.reserved))?;
        ledger.entries[0] = Entry::default();
        Ok(ledger)
    }

    /// Numbers of objects that the live generation does not refer to. Only after a grace period may they go.
    pub fn garbage(&self, live: u64) -> Vec<u32> {
        let is_garbage = |entry: &Entry| *entry != Entry::default() && !refers(entry, live);
        self.numbers().filter(|&number| is_garbage(&self.entries[number as usize])).collect()
    }

    fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        self.reserved..self.entries.len() as u32
    }

    /// The content hash under a number, where it was written whole.
    pub fn hash_of(&self, number: u32) -> Option<ContentHash> {
        self.entries.get(number as usize).map(|entry| entry.hash).filter(|hash| *hash != [0; 2])
    }

    /// How many objects there are.
    pub fn used(&self) -> u64 {
        self.numbers().filter(|&number| self.entries[number as usize] != Entry::default()).count() as u64
    }

    /// Frees numbers whose objects are gone from their map.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub fn release(&mut self, numbers: &[u32]) -> Result<()> {
        let cleared: Vec<_> = numbers.iter().map(|&number| (number, Entry::default())).collect();
        self.map.set_all(&cleared)?;
        numbers.iter().for_each(|&number| self.entries[number as usize] = Entry::default());
        Ok(())
    }

    /// Begins to collect what a new generation refers to. A build that was cut off before its generation went live has
    /// left stamps of the same number: they mean nothing any more.
    pub fn begin(&mut self, generation: u64) {
        self.touched.clear();
        self.fresh.clear();
        self.by_hash.clear();
        self.free.clear();
        self.disowned =
            self.numbers().filter(|&number| refers(&self.entries[number as usize], generation)).collect();
        for &number in &self.disowned {
            self.entries[number as usize].stamps[(generation & 1) as usize] = 0;
        }
        for number in self.numbers() {
            match self.hash_of(number) {
                Some(hash) => {
                    self.by_hash.insert(hash, number);
                }
                None if self.entries[number as usize] == Entry::default() => self.free.push(number),
                None => {}
            }
        }
        self.free.reverse();
    }

    /// The number of the object with this content, and whether it has yet to be written.
    ///
    /// # Errors
    /// Where the map is full: never is anything cut off.
    pub fn intern(&mut self, hash: ContentHash) -> Result<(u32, bool)> {
        if let Some(&number) = self.by_hash.get(&hash) {
            self.touched.push(number);
            return Ok((number, false));
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                let number = self.entries.len() as u32;
                if number >= self.map.max_entries() {
                    return Err(crate::error::Refusal::new(
                        "ResourceLimitExceeded",
                        format!(
                            "the policy of this host needs more than {} {}; use fewer different rule combinations",
                            self.map.max_entries(),
                            self.what
                        ),
                    )
                    .into());
                }
                self.entries.push(Entry::default());
                number
            }
        };
        self.entries[number as usize].hash = hash;
        self.by_hash.insert(hash, number);
        self.touched.push(number);
        self.fresh.push(number);
        Ok((number, true))
    }

    /// Writes down that the numbers given out by [`Self::intern`] are taken, before their objects are written: after a
    /// crash they are garbage, not free.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub fn reserve(&mut self, generation: u64) -> Result<()> {
        let used = Entry { stamps: [self.entries.len() as u64, 0], ..Entry::default() };
        self.map.set(&0, &used).context("cannot write the ledger")?;
        for &number in &self.touched {
            self.entries[number as usize].stamps[(generation & 1) as usize] = generation;
        }
        let unfinished = |&number: &u32| {
            let entry = self.entries[number as usize];
            (number, Entry { hash: [0; 2], ..entry })
        };
        let dirty: Vec<_> = self.fresh.iter().map(unfinished).collect();
        self.map.set_all(&dirty).context("cannot write the ledger")
    }

    /// Writes down that the objects are there, and who refers to them.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        self.touched.append(&mut self.disowned);
        self.touched.sort_unstable();
        self.touched.dedup();
        let done: Vec<_> =
            self.touched.iter().map(|&number| (number, self.entries[number as usize])).collect();
        self.map.set_all(&done).context("cannot write the ledger")
    }
}

fn refers(entry: &Entry, generation: u64) -> bool {
    entry.stamps[(generation & 1) as usize] == generation
}
