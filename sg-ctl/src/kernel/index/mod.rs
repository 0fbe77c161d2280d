//! Userspace's side of [`sg_common::index`]: builds the index of a long prefix list, changes it under the packets that use it,
//! and reads back what it says.
//!
//! An index is one array, without a system call for each entry. A change writes what is new into memory that no packet
//! knows of, and then one word a slot, so that packets of the generation to come read the new and those of the live one
//! the old ([`Index::plan`], [`Index::stage`]); the flip of the generation word puts it in force. Memory is not used twice:
//! when there is none left the list is built anew ([`Index::build`]).

mod arena;
mod coverage;
mod plan;
mod read;

pub use arena::TooDense;
pub use coverage::{Coverage, Range, range};
pub use plan::{Change, Plan};

use super::{mapping::Mapping, sys};
use crate::compile::Family;
use anyhow::{Context, Result, ensure};
use arena::{Arena, Part};
use sg_common::index::{self as layout, Address, LATEST, PAGE_BYTES, PAGE_WORDS, USED};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
};

/// Memory that a new index has for changes: this part of what it takes itself, and no less than [`LEAST_SLACK`].
const SLACK: u32 = 4;
/// Words. A change of one entry takes some 20 to 100 of them.
const LEAST_SLACK: u32 = PAGE_WORDS / 4;

/// The index of one list. The caller holds the host's lock.
pub struct Index {
    fd: OwnedFd,
    memory: Mapping,
    family: Family,
}

impl Index {
    /// Makes the index of a set of addresses. Where it lies packets do not know yet.
    ///
    /// # Errors
    /// Where the kernel refuses the map, and [`TooDense`], with which the list has to stay in the kernel's trie.
    pub fn build(family: Family, coverage: &Coverage) -> Result<Self> {
        let mut arena = Arena::new(family, 0);
        let (inside, boundaries) = coverage.between((0, u128::MAX));
        arena.root(Part { inside, boundaries })?;
        let (words, used) = arena.finish();
        let pages = (used + (used / SLACK).max(LEAST_SLACK)).div_ceil(PAGE_WORDS);
        let flags = sys::MAP_MMAPABLE | sys::MAP_INNER;
        let page = PAGE_BYTES as usize;
        let fd = sys::map_create(sys::MAP_TYPE_ARRAY, size_of::<u32>(), page, pages, flags, "SG_INDEX")
            .context("cannot create the index of a prefix list")?;
        let memory = map(fd.as_fd(), pages)?;
        fill(&memory, 0, &words);
        Ok(Self { fd, memory, family })
    }

    /// Takes over the array of an index that was made before.
    ///
    /// # Errors
    /// Where it is no index.
    pub fn open(fd: OwnedFd) -> Result<Self> {
        let (key, value, pages) = sys::map_sizes(fd.as_fd())?;
        ensure!((key, value) == (4, PAGE_BYTES) && pages > 0, "not the index of a prefix list");
        let memory = map(fd.as_fd(), pages)?;
        let family = match memory[layout::FAMILY as usize].load(Ordering::Relaxed) {
            32 => Family::V4,
            128 => Family::V6,
            other => anyhow::bail!("the index of a prefix list of no family ({other} address bits)"),
        };
        Ok(Self { fd, memory, family })
    }

    /// The array, to be put into a place of `INDEXES`.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The family of its addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Bytes of kernel memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.memory)
    }

    /// Writes a planned change. Packets that hold a generation before the change's go on reading what they read.
    ///
    /// The caller has seen to it that no packet holds a generation before [`Plan::after`] any longer. Whoever is killed
    /// in here leaves either nothing or what [`Index::revert`] takes back.
    pub fn stage(&self, plan: &Plan) {
        let Some(latest) = plan.latest() else { return };
        self.store(USED, u64::from(plan.end()));
        fill(&self.memory, plan.base(), plan.words());
        // What a slot names must be complete before the slot names it, and be known to `revert` before a packet can see it.
        self.store(LATEST, u64::from(latest));
        for (slot, word) in plan.slots() {
            self.store(slot, word);
        }
    }

    /// Takes back what was staged for generations after the live one. The slots say what they said before.
    pub fn revert(&self, live: u64) {
        let mut record = self.word(LATEST) as u32;
        while record != 0 && self.word(record + layout::RECORD_SINCE) > live {
            let links = self.word(record + layout::RECORD_LINKS);
            self.store(links as u32, self.word(record + layout::RECORD_BEFORE));
            record = (links >> 32) as u32;
        }
        self.store(LATEST, u64::from(record));
    }

    /// Whether a packet of this generation finds the address in the list: by the datapath's own lookup.
    #[must_use]
    pub fn holds<A: Address>(&self, address: A, generation: u64) -> bool {
        layout::holds(read::Words(&self.memory), address, generation)
    }

    /// What a packet of this generation finds in the list.
    #[must_use]
    pub fn coverage(&self, generation: u64) -> Coverage {
        read::coverage(&self.memory, self.family, generation)
    }

    fn word(&self, place: u32) -> u64 {
        self.memory[place as usize].load(Ordering::Relaxed)
    }

    fn store(&self, place: u32, word: u64) {
        self.memory[place as usize].store(word, Ordering::Release);
    }
}

fn map(fd: BorrowedFd<'_>, pages: u32) -> Result<Mapping> {
    let words = pages as usize * PAGE_WORDS as usize;
    Mapping::new(fd, words).context("cannot map the index of a prefix list into memory")
}

fn fill(memory: &[AtomicU64], base: u32, words: &[u64]) {
    for (to, from) in memory[base as usize..].iter().zip(words) {
        to.store(*from, Ordering::Relaxed);
    }
}
