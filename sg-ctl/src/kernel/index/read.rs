//! Reads an index: by the datapath's lookup, and as a whole.

use super::{Coverage, arena::shifted};
use crate::compile::Family;
use sg_common::index::{
    self, BEGINS, ENDS, IN, KIND, LONG, NODE, PAGE_WORDS, RECORD_BEFORE, RECORD_NOW, RECORD_SINCE, ROOT, RUN,
    VERSIONS, WIDE, WORD_BITS,
};
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::transmute;

/// An index's memory.
#[derive(Clone, Copy)]
pub(super) struct Words<'a>(pub &'a [AtomicU64]);

impl Words<'_> {
    pub fn word(self, place: u32) -> u64 {
        self.0[place as usize].load(Ordering::Acquire)
    }

    /// What a slot says to a packet of this generation.
    pub fn settled(self, word: u64, generation: u64) -> u64 {
        if word & KIND != VERSIONS {
            return word;
        }
        let record = index::place(word);
        let live = generation >= self.word(record + RECORD_SINCE);
        self.word(record + if live { RECORD_NOW } else { RECORD_BEFORE })
    }
}

impl<'a> index::Pages for Words<'a> {
    type Page = Page<'a>;

    fn page(self, number: u32) -> Option<Page<'a>> {
        self.0.as_chunks().0.get(number as usize).map(Page)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Page<'a>(&'a [AtomicU64; PAGE_WORDS as usize]);

impl index::Page for Page<'_> {
    fn word(self, place: u32) -> u64 {
        self.0[(place % PAGE_WORDS) as usize].load(Ordering::Acquire)
    }

    fn half_word(self, offset: u32) -> u64 {
        half(self.word(offset / 2), offset)
    }

    fn quarter_word(self, offset: u32) -> u64 {
        quarter(self.word(offset / 4), offset)
    }
}

/// Addresses behind so many leading bits.
#[derive(Clone, Copy)]
pub(super) struct Under {
    /// The leading bits, and zeros.
    pub address: u128,
    pub taken: u32,
}

/// A node, as a word names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// Place of the first slot.
    pub slots: u32,
    /// Bits that choose a slot.
    pub bits: u32,
    /// Lowest address of the first slot.
    pub address: u128,
    /// Address bits in front of those that a slot leaves open.
    pub taken: u32,
}

impl Node {
    pub fn new(words: Words, word: u64, under: Under) -> Self {
        let (skip, bits, place) = (index::skip(word), index::bits(word), index::place(word));
        let skipped = u128::from(words.word(place)).checked_shl(128 - under.taken - skip).unwrap_or(0);
        let address = if skip == 0 { under.address } else { under.address | skipped };
        Self { slots: place + 1, bits, address, taken: under.taken + skip + bits }
    }

    /// What is behind a slot.
    pub fn under(&self, slot: u32) -> Under {
        let offset = shifted(u128::from(slot), 128 - self.taken);
        Under { address: self.address | offset, taken: self.taken }
    }

    /// First and last address of these slots.
    pub fn range(&self, from: u32, to: u32) -> (u128, u128) {
        (self.under(from).address, self.under(to).last())
    }

    /// The slot of an address, where the node has one for it.
    pub fn slot_of(&self, address: u128) -> Option<u32> {
        let (first, last) = self.range(0, (1 << self.bits) - 1);
        let slot = || ((address - first) >> (128 - self.taken)) as u32;
        (first..=last).contains(&address).then(slot)
    }
}

impl Under {
    pub fn last(&self) -> u128 {
        self.address | u128::MAX.checked_shr(self.taken).unwrap_or(0)
    }
}

/// What a packet of this generation finds in the index.
pub(super) fn coverage(memory: &[AtomicU64], family: Family, generation: u64) -> Coverage {
    let mut coverage = Coverage::default();
    let words = Words(memory);
    let whole = Under { address: 0, taken: 0 };
    Reader { words, family, generation }.read(words.word(ROOT), whole, &mut coverage);
    coverage
}

pub(super) struct Reader<'a> {
    pub words: Words<'a>,
    pub family: Family,
    pub generation: u64,
}

impl Reader<'_> {
    /// Says what a word says, from the first of its addresses on.
    pub fn read(&self, word: u64, under: Under, coverage: &mut Coverage) {
        let word = self.words.settled(word, self.generation);
        match word & KIND {
            RUN | LONG | WIDE => {
                let mut inside = word & BEGINS != 0;
                coverage.becomes(under.address, inside);
                for n in 0..index::count(word) {
                    inside = !inside;
                    coverage.becomes(under.address | self.boundary(word, n) >> under.taken, inside);
                }
            }
            NODE => {
                let node = Node::new(self.words, word, under);
                coverage.becomes(under.address, word & BEGINS != 0);
                for slot in 0..1 << node.bits {
                    self.read(self.words.word(node.slots + slot), node.under(slot), coverage);
                }
                let (_, last) = node.range(0, (1 << node.bits) - 1);
                if last != under.last() {
                    coverage.becomes(last + 1, word & ENDS != 0);
                }
            }
            constant => coverage.becomes(under.address, constant == IN),
        }
    }

    /// A boundary of a run, left-aligned.
    fn boundary(&self, word: u64, n: u32) -> u128 {
        let place = index::place(word);
        let left = |number: u64, bits: u32| u128::from(number) << (128 - bits);
        let at = |n: u32| self.words.word(place + n);
        match word & KIND {
            WIDE => left(at(2 * n), WORD_BITS) | left(at(2 * n + 1), 2 * WORD_BITS),
            LONG => left(at(n), WORD_BITS),
            _ if self.family == Family::V6 => left(half(at(n / 2), n), 32),
            _ => left(quarter(at(n / 4), n), 16),
        }
    }
}

/// The 32 bits with this number, of those that lie in the word and others before it.
fn half(word: u64, n: u32) -> u64 {
    let parts: [u32; 2] = transmute!(word);
    u64::from(parts[(n % 2) as usize])
}

/// The sixteen bits with this number, likewise.
fn quarter(word: u64, n: u32) -> u64 {
    let parts: [u16; 4] = transmute!(word);
    u64::from(parts[(n % 4) as usize])
}
