//! Writes nodes and runs down, at places that are known before the memory is there.

use crate::compile::Family;
use sg_common::index::{
    self, DEPTH_V4, DEPTH_V6, HEADER_WORDS, LONG, MAX_RUN, MAX_SKIP, PAGE_WORDS, RECORD_WORDS, ROOT_BITS,
    RUN, WIDE, WORD_BITS,
};
use zerocopy::{Immutable, IntoBytes};

/// Boundaries that stay one run where another node could divide them: a node costs a packet as many cache lines as the
/// halvings that it spares, and more pages. (128 and 512 were slower at a million prefixes of IPv4 and IPv6.)
const LONG_RUN: usize = 256;
/// A node that divides a run has a slot for about so many boundaries.
const PER_SLOT: usize = 16;

/// What cannot be written down: more boundaries than a run can have lie so close together, or so deep, that no node on
/// their way divides them. Only IPv6 has room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the prefixes lie too close together for an index")]
pub struct TooDense;

/// What a slot says of its addresses.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// Whether the lowest is in the set.
    pub inside: bool,
    /// Where that changes, behind the lowest.
    pub boundaries: &'a [u128],
}

/// Words that are to lie at `base` and behind it.
pub(super) struct Arena {
    family: Family,
    base: u32,
    words: Vec<u64>,
}

/// `value << by`, with nothing left where all bits are shifted out.
pub(super) fn shifted(value: u128, by: u32) -> u128 {
    value.checked_shl(by).unwrap_or(0)
}

impl Arena {
    pub fn new(family: Family, base: u32) -> Self {
        Self { family, base, words: Vec::new() }
    }

    /// The words written, and the place behind them.
    pub fn finish(self) -> (Vec<u64>, u32) {
        let end = self.base + self.words.len() as u32;
        (self.words, end)
    }

    /// Room for so many words, none of them in another page than the first. Returns their place.
    pub fn take(&mut self, words: u32) -> u32 {
        let mut place = self.base + self.words.len() as u32;
        let left = PAGE_WORDS - place % PAGE_WORDS;
        if words > left {
            place += left;
        }
        self.words.resize((place + words - self.base) as usize, 0);
        place
    }

    pub fn put(&mut self, place: u32, word: u64) {
        self.words[(place - self.base) as usize] = word;
    }

    /// Writes a whole set down, for a new index: header, root, and what is below it.
    pub fn root(&mut self, part: Part) -> Result<(), TooDense> {
        self.take(HEADER_WORDS);
        let root = match part.boundaries {
            [] => index::constant(part.inside),
            _ => self.node(part, 0, 0)?,
        };
        self.put(index::ROOT, root);
        self.put(index::FAMILY, u64::from(self.family.bits()));
        self.put(index::USED, self.words.len() as u64);
        Ok(())
    }

    /// Writes what a slot says down, behind so many address bits and nodes. Returns its word.
    pub fn slot(&mut self, part: Part, taken: u32, nodes: u32) -> Result<u64, TooDense> {
        let depth = match self.family {
            Family::V4 => DEPTH_V4,
            Family::V6 => DEPTH_V6,
        };
        match part.boundaries.len() {
            0 => Ok(index::constant(part.inside)),
            count if count > LONG_RUN && nodes < depth => self.node(part, taken, nodes),
            count if count > MAX_RUN as usize => Err(TooDense),
            _ => Ok(self.run(part, taken)),
        }
    }

    /// A record of a change to a slot; what it says is put in later.
    pub fn record(&mut self) -> u32 {
        self.take(RECORD_WORDS)
    }

    fn node(
        &mut self,
        Part { mut inside, boundaries }: Part,
        taken: u32,
        nodes: u32,
    ) -> Result<u64, TooDense> {
        let (first, last) = (boundaries[0], boundaries[boundaries.len() - 1]);
        let left = u32::from(self.family.bits()) - taken;
        let bits = match nodes {
            0 => ROOT_BITS,
            _ => (boundaries.len() / PER_SLOT).ilog2().min(ROOT_BITS - 1).min(left),
        };
        let common = shifted(first ^ last, taken).leading_zeros();
        let skip = common.min(MAX_SKIP).min(left - bits);
        let place = self.take(1 + (1 << bits));
        let head = shifted(first, taken).checked_shr(128 - skip).unwrap_or(0);
        self.put(place, head as u64);
        let word = index::node(inside, inside ^ (boundaries.len() % 2 == 1), place, skip, bits);

        let slot_of = |boundary: u128| shifted(boundary, taken + skip) >> (128 - bits);
        let taken = taken + skip + bits;
        let mut rest = boundaries;
        for slot in 0..1 << bits {
            let count = rest.iter().take_while(|boundary| slot_of(**boundary) == u128::from(slot)).count();
            let (mut own, behind) = rest.split_at(count);
            // A boundary at the slot's lowest address is no change within the slot.
            if let Some((lowest, others)) = own.split_first()
                && shifted(*lowest, taken) == 0
            {
                inside = !inside;
                own = others;
            }
            let said = self.slot(Part { inside, boundaries: own }, taken, nodes + 1)?;
            self.put(place + 1 + slot, said);
            inside ^= own.len() % 2 == 1;
            rest = behind;
        }
        Ok(word)
    }

    fn run(&mut self, Part { inside, boundaries }: Part, taken: u32) -> u64 {
        let count = boundaries.len() as u32;
        let left = |boundary: &u128| shifted(*boundary, taken);
        let fits = |bits: u32| boundaries.iter().all(|boundary| shifted(left(boundary), bits) == 0);
        let (kind, place) = if self.family == Family::V4 {
            (RUN, self.pack(boundaries.iter().map(|boundary| (left(boundary) >> 112) as u16)))
        } else if fits(32) {
            (RUN, self.pack(boundaries.iter().map(|boundary| (left(boundary) >> 96) as u32)))
        } else {
            let word = |boundary, end: u32| (left(boundary) >> (128 - end)) as u64 & ((1 << WORD_BITS) - 1);
            if fits(WORD_BITS) {
                (LONG, self.pack(boundaries.iter().map(|boundary| word(boundary, WORD_BITS))))
            } else {
                let words = |boundary| [word(boundary, WORD_BITS), word(boundary, 2 * WORD_BITS)];
                (WIDE, self.pack(boundaries.iter().flat_map(words)))
            }
        };
        index::run(kind, inside, place, count)
    }

    /// Writes numbers down, one behind the other as they lie in memory. Returns their place.
    fn pack<T: IntoBytes + Immutable>(&mut self, numbers: impl Iterator<Item = T>) -> u32 {
        let mut bytes = Vec::new();
        numbers.for_each(|number| bytes.extend_from_slice(number.as_bytes()));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let place = self.take(bytes.len() as u32 / 8);
        for (at, word) in (place..).zip(bytes.as_chunks().0) {
            self.put(at, u64::from_ne_bytes(*word));
        }
        place
    }
}
