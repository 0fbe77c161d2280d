//! What lies in the shared policy maps: port sets, classes, address tables, views and identities by the hash of their
//! content.
//!
//! A ledger lies in a pinned array beside the map that it describes, so that it lives and dies with it. Each entry has two
//! stamps: builds that refer to it. The live generation may refer to whatever was stamped by the last build of everything
//! or a later one ([`Builds`]). A build stamps what it refers to before it goes live, and over a stamp that proves nothing:
//! whichever way a crash falls, what the live generation refers to can be told from what is left over.

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
    /// Builds that refer to it.
    stamps: [u64; 2],
}

/// How many objects the ledger pinned at `path` speaks of; none where there is no ledger yet.
///
/// # Errors
/// Where it cannot be read.
pub fn count(path: &Path) -> Result<u64> {
    if !path.exists() {
        return Ok(0);
    }
    let map: BpfMap<u32, Entry> = BpfMap::open_to_read(path)?;
    let used = map.get(&0)?.map_or(0, |entry| entry.stamps[0]) as u32;
    let entries = map.head(used)?;
    Ok(entries.iter().skip(1).filter(|entry| **entry != Entry::default()).count() as u64)
}

/// Stamp of a generation that does not come.
const NEVER: u64 = u64::MAX;

/// Whose objects are in use: those of the last build of everything, and of every build since up to the live one.
#[derive(Clone, Copy, Debug)]
pub struct Builds {
    /// The last one of everything.
    pub whole: u64,
    /// The live one.
    pub live: u64,
}

impl Builds {
    fn refer_to(self, entry: &Entry) -> bool {
        entry.stamps.iter().any(|stamp| self.holds(*stamp))
    }

    fn holds(self, stamp: u64) -> bool {
        (self.whole..=self.live).contains(&stamp) && stamp != 0
    }
}

/// The ledger of one kind of object. Number 0 is never given out: its entry holds how many numbers were ever in use.
pub struct Ledger {
    map: BpfMap<u32, Entry>,
    what: &'static str,
    reserved: u32,
    builds: Builds,
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
    pub fn open_or_create(
        path: &Path,
        capacity: u32,
        reserved: u32,
        builds: Builds,
        what: &'static str,
    ) -> Result<Self> {
        let map = if path.exists() {
            BpfMap::open(path)?
        } else {
            BpfMap::create_array(path, capacity, "SG_LEDGER")?
        };
        let mut ledger = Self {
            map,
            what,
            reserved: reserved.max(1),
            builds,
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
    pub fn garbage(&self) -> Vec<u32> {
        let is_garbage = |entry: &Entry| *entry != Entry::default() && !self.builds.refer_to(entry);
        self.numbers().filter(|&number| is_garbage(&self.entries[number as usize])).collect()
    }

    /// The number of the object with this content, where the live generation may refer to it or the next is to.
    pub fn number(&self, hash: ContentHash) -> Option<u32> {
        self.by_hash.get(&hash).copied()
    }

    fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        self.reserved..self.entries.len() as u32
    }

    /// The content hash under a number, where it was written whole.
    pub fn hash_of(&self, number: u32) -> Option<ContentHash> {
        self.entries.get(number as usize).map(|entry| entry.hash).filter(|hash| *hash != [0; 2])
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

    /// Begins to collect what the next build refers to. Builds that were cut off before they went live have left stamps
    /// of numbers that are to come: they mean nothing any more.
    pub fn begin(&mut self) {
        self.touched.clear();
        self.fresh.clear();
        self.by_hash.clear();
        self.free.clear();
        self.disowned.clear();
        for number in self.numbers() {
            let entry = &mut self.entries[number as usize];
            let is_finished = entry.hash != [0; 2];
            let stray = entry.stamps.iter_mut().filter(|stamp| **stamp > self.builds.live);
            // Of what was never finished parts may lie in the map: its number is not free, and nobody refers to it.
            if stray.map(|stamp| *stamp = if is_finished { 0 } else { NEVER }).count() > 0 {
                self.disowned.push(number);
            }
            match self.hash_of(number) {
                // What nobody refers to any more may have been emptied in part, or have fallen behind.
                Some(hash) if self.builds.refer_to(&self.entries[number as usize]) => {
                    self.by_hash.insert(hash, number);
                }
                None if self.entries[number as usize] == Entry::default() => self.free.push(number),
                Some(_) | None => {}
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
        self.add(hash)
    }

    /// Whether another number can be given out.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty() || (self.entries.len() as u32) < self.map.max_entries()
    }

    /// Gives the next object of this content a number of its own: what lies under the old one is not up to date.
    pub fn forget(&mut self, hash: ContentHash) {
        self.by_hash.remove(&hash);
    }

    fn add(&mut self, hash: ContentHash) -> Result<(u32, bool)> {
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
    pub fn reserve(&mut self, build: u64) -> Result<()> {
        if self.fresh.is_empty() && self.touched.is_empty() {
            return Ok(());
        }
        let used = Entry { stamps: [self.entries.len() as u64, 0], ..Entry::default() };
        self.map.set(&0, &used).context("cannot write the ledger")?;
        for &number in &self.touched {
            let stamps = &mut self.entries[number as usize].stamps;
            if stamps.contains(&build) {
                continue;
            }
            let [one, other] = *stamps;
            let first_is_spare = !self.builds.holds(one) || self.builds.holds(other) && one < other;
            stamps[usize::from(!first_is_spare)] = build;
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
