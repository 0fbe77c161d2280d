//! The index of a long prefix list: how it lies in memory, and how an address is looked up in it.
//!
//! A list is the set of addresses that its prefixes cover. That set is written down as the addresses, in order, at which
//! membership changes: *boundaries*. Prefixes that overlap or touch leave no boundary between them, so nested and
//! neighbouring entries cost nothing, and the answer is one bit: are there as many boundaries up to the address as make it
//! inside? (The kernel's longest-prefix trie follows a pointer for every bit that distinguishes entries.)
//!
//! * The *root* is a node of 65,536 slots, chosen by the sixteen address bits behind those that all boundaries have in
//!   common.
//! * A slot says that all of its addresses are outside or inside, or names the sorted *run* of its boundaries, or, where
//!   these are many, another *node*.
//! * A slot that was changed names a *record*: what it says since a generation, and what it said before. A packet reads
//!   what is right for the generation that it holds, so changes of any number of slots come into force with the one word
//!   that is the generation.
//!
//! Everything lies in pages of [`PAGE_BYTES`], the values of an array that userspace maps into its memory, and nothing
//! crosses from one page into the next. Places count 64-bit words from the start of the array. Memory that packets can read is
//! never written a second time, slots excepted, which are one word: so a packet that runs at the same time sees the old
//! or the new one, and what either names is complete.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a page. A power of two and no more than kernels before 6.4 take as the value of an array.
pub const PAGE_BYTES: u32 = 1 << 20;
/// 64-bit words of a page.
pub const PAGE_WORDS: u32 = PAGE_BYTES / 8;
/// Lists with an index that a host can have, twice over while one is built anew.
pub const MAX_INDEXES: u32 = 64;

/// Place of the root's word, which never changes: [`OUT`], [`IN`], or a [`NODE`] in the first page.
pub const ROOT: u32 = 0;
/// Place of the number of words that are in use. Only userspace reads it.
pub const USED: u32 = 1;
/// Place of the place of the record that was written last, 0 before the first. Only userspace reads it.
pub const LATEST: u32 = 2;
/// Place of the number of address bits of the family, 32 or 128. Only userspace reads it.
pub const FAMILY: u32 = 3;
/// Words before the first that can be taken.
pub const HEADER_WORDS: u32 = 8;

/// Address bits that choose a slot of the root.
pub const ROOT_BITS: u32 = 16;
/// Leading bits that a node can skip: one shift takes them and the slot's bits.
pub const MAX_SKIP: u32 = 47;
/// Boundaries that one run can have: a lookup halves them sixteen times.
pub const MAX_RUN: u32 = 65_535;
/// Nodes on the way to an IPv4 run; sixteen bits are left behind the root.
pub const DEPTH_V4: u32 = 2;
/// Nodes on the way to an IPv6 run.
pub const DEPTH_V6: u32 = 3;

/// Bits of a word that say what it is.
pub const KIND: u64 = 7;
/// No address of the slot is in the set. Zeroed memory holds nothing.
pub const OUT: u64 = 0;
/// Every address of the slot is.
pub const IN: u64 = 1;
/// A run: bits 8 to 31 are the number of boundaries, the upper half is the place. IPv4: 16 bits each, which is what is left
/// of the address. IPv6: 32 bits each, behind which all are zero.
pub const RUN: u64 = 2;
/// An IPv6 run with a boundary that needs more than 32 bits, and none more than 56: a word each.
pub const LONG: u64 = 3;
/// A node: bits 8 to 15 are the number of bits skipped, 16 to 23 of those that choose a slot, the upper half is the place.
/// First comes a word with the skipped bits, then the slots.
pub const NODE: u64 = 4;
/// A record: the upper half is the place. Only slots name one.
pub const VERSIONS: u64 = 5;
/// An IPv6 run with a boundary that needs more than 56 bits: two words of 56 bits each.
pub const WIDE: u64 = 6;
/// In the word of a run or a node: the lowest address is in the set.
pub const BEGINS: u64 = 1 << 3;
/// In the word of a node: the highest address is in the set.
pub const ENDS: u64 = 1 << 4;

/// Word of a record: the first generation that reads [`RECORD_NOW`].
pub const RECORD_SINCE: u32 = 0;
/// Word of a record: what the slot says since then; not a record.
pub const RECORD_NOW: u32 = 1;
/// Word of a record: what it said before; not a record.
pub const RECORD_BEFORE: u32 = 2;
/// Word of a record, for userspace: the slot's place, and in the upper half that of the record written before this one.
pub const RECORD_LINKS: u32 = 3;
/// Words of a record.
pub const RECORD_WORDS: u32 = 4;

/// Bits of a boundary that one word of a [`LONG`] or [`WIDE`] run holds. Below 63, so that the sign of a difference tells the order.
pub const WORD_BITS: u32 = 56;

/// The place in a word.
#[inline(always)]
#[must_use]
pub fn place(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Boundaries of a run.
#[inline(always)]
#[must_use]
pub fn count(word: u64) -> u32 {
    (word >> 8) as u32 & 0x00ff_ffff
}

/// Bits that a node skips.
#[inline(always)]
#[must_use]
pub fn skip(word: u64) -> u32 {
    (word >> 8) as u32 & 63
}

/// Bits that choose a slot of a node.
#[inline(always)]
#[must_use]
pub fn bits(word: u64) -> u32 {
    (word >> 16) as u32 & 63
}

/// The word of a run of this kind.
#[must_use]
pub fn run(kind: u64, begins: bool, place: u32, count: u32) -> u64 {
    kind | if begins { BEGINS } else { 0 } | u64::from(count) << 8 | u64::from(place) << 32
}

/// The word of a node.
#[must_use]
pub fn node(begins: bool, ends: bool, place: u32, skip: u32, bits: u32) -> u64 {
    let sides = if begins { BEGINS } else { 0 } | if ends { ENDS } else { 0 };
    NODE | sides | u64::from(skip) << 8 | u64::from(bits) << 16 | u64::from(place) << 32
}

/// The word of a slot that a record speaks for.
#[must_use]
pub fn versions(place: u32) -> u64 {
    VERSIONS | u64::from(place) << 32
}

/// The word of a slot whose addresses are all alike.
#[must_use]
pub fn constant(inside: bool) -> u64 {
    if inside { IN } else { OUT }
}

/// What the program that tests and benchmarks run (`sg-ebpf/bench/index.rs`) is asked, and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Query {
    /// As in packets; IPv4 in the first word, the others zero.
    pub address: [u32; 4],
    /// The generation that the packet holds.
    pub generation: u64,
    /// 1: the list covers the address. 0: it does not.
    pub answer: u64,
}

/// Memory of an index.
pub trait Pages: Copy {
    /// One page.
    type Page: Page;
    /// The page by number, where there is one.
    fn page(self, number: u32) -> Option<Self::Page>;
}

/// A page. Every read is within it, whatever is asked for.
pub trait Page: Copy {
    /// The word at this place, counted modulo [`PAGE_WORDS`].
    fn word(self, place: u32) -> u64;
    /// The 32 bits at this offset, counted in such and modulo the page.
    fn half_word(self, offset: u32) -> u64;
    /// The sixteen bits at this offset, counted in such and modulo the page.
    fn quarter_word(self, offset: u32) -> u64;
    /// `step` where the difference is negative, otherwise 0. By arithmetic: a branch here would be mispredicted every other
    /// time, and the verifier would follow both of its sides.
    #[inline(always)]
    #[must_use]
    fn step_if_negative(difference: u64, step: u32) -> u32 {
        ((difference as i64 >> 63) as u32) & step
    }
}

/// An address that can be looked up.
pub trait Address: Copy {
    /// Nodes on the way to a run.
    const DEPTH: u32;
    /// The address in the upper bits of 128.
    fn key(self) -> Key;
    /// How many boundaries of the run are not above the key.
    fn boundaries<P: Page>(page: P, word: u64, key: Key) -> u32;
}

/// What is left of an address, in the upper bits.
#[derive(Clone, Copy)]
pub struct Key {
    high: u64,
    low: u64,
}

impl Address for u32 {
    const DEPTH: u32 = DEPTH_V4;

    #[inline(always)]
    fn key(self) -> Key {
        Key { high: u64::from(u32::from_be(self)) << 32, low: 0 }
    }

    #[inline(always)]
    fn boundaries<P: Page>(page: P, word: u64, key: Key) -> u32 {
        let first = place(word).wrapping_mul(4);
        let above = (key.high >> 48) + 1;
        search::<P>(count(word), |n| page.quarter_word(first.wrapping_add(n)).wrapping_sub(above))
    }
}

impl Address for [u32; 4] {
    const DEPTH: u32 = DEPTH_V6;

    #[inline(always)]
    fn key(self) -> Key {
        let [a, b, c, d] = self.map(|part| u64::from(u32::from_be(part)));
        Key { high: a << 32 | b, low: c << 32 | d }
    }

    #[inline(always)]
    fn boundaries<P: Page>(page: P, word: u64, key: Key) -> u32 {
        let (first, high) = (place(word), key.high >> (64 - WORD_BITS));
        if word & KIND == RUN {
            let (first, above) = (first.wrapping_mul(2), (key.high >> 32) + 1);
            let difference = |n: u32| page.half_word(first.wrapping_add(n)).wrapping_sub(above);
            return search::<P>(count(word), difference);
        }
        if word & KIND == LONG {
            let above = high + 1;
            return search::<P>(count(word), |n| page.word(first.wrapping_add(n)).wrapping_sub(above));
        }
        let above = ((key.high << 48 | key.low >> 16) & ((1 << WORD_BITS) - 1)) + 1;
        search::<P>(count(word), |n| {
            let at = first.wrapping_add(n.wrapping_mul(2));
            // All ones where the lower words say "not above", as the borrow of a long subtraction.
            let borrow = (page.word(at.wrapping_add(1)).wrapping_sub(above) as i64 >> 63) as u64;
            page.word(at).wrapping_sub(high).wrapping_add(borrow)
        })
    }
}

/// One halving of the boundaries in question, written out sixteen times below: Linux 6.1 refuses some of the loops that the
/// compiler makes.
macro_rules! halve {
    ($found:lifetime, $left:ident, $passed:ident, $difference:ident) => {
        if $left <= 1 {
            break $found;
        }
        let half = $left >> 1;
        $passed += P::step_if_negative($difference($passed + half), half);
        $left -= half;
    };
}

/// How many of the sorted boundaries, of which there is at least one, are not above the key. `difference` is negative for
/// those.
#[inline(always)]
fn search<P: Page>(count: u32, difference: impl Fn(u32) -> u64) -> u32 {
    let (mut left, mut passed) = (count & MAX_RUN, 0);
    'found: {
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
        halve!('found, left, passed, difference);
    }
    debug_assert!(left == 1, "sixteen halvings lead from 65,535 to one");
    passed + P::step_if_negative(difference(passed), 1)
}

/// Whether the list covers the address, for a packet that holds this generation.
#[inline(always)]
pub fn holds<P: Pages, A: Address>(pages: P, address: A, generation: u64) -> bool {
    let Some(first) = pages.page(0) else { return false };
    let mut key = address.key();
    let mut word = first.word(ROOT);
    if word & KIND == NODE {
        word = choose(first, word, &mut key);
        word = settled(pages, word, generation);
        if word & KIND == NODE {
            word = enter(pages, word, &mut key);
            word = settled(pages, word, generation);
        }
        if A::DEPTH > 2 && word & KIND == NODE {
            word = enter(pages, word, &mut key);
            word = settled(pages, word, generation);
        }
    }
    if word & KIND < RUN {
        return word & KIND == IN;
    }
    let Some(page) = pages.page(place(word) / PAGE_WORDS) else { return false };
    (A::boundaries(page, word, key) ^ (word >> 3) as u32) & 1 != 0
}

/// The slot of a node elsewhere.
#[inline(always)]
fn enter<P: Pages>(pages: P, word: u64, key: &mut Key) -> u64 {
    match pages.page(place(word) / PAGE_WORDS) {
        Some(page) => choose(page, word, key),
        None => OUT,
    }
}

/// The word of the slot that the key chooses, or a constant where it has other bits than the node skips.
#[inline(always)]
fn choose<P: Page>(page: P, word: u64, key: &mut Key) -> u64 {
    let (skip, bits) = (skip(word), bits(word));
    if skip > 0 {
        let (common, own) = (page.word(place(word)), key.high.wrapping_shr(64 - skip));
        if own < common {
            return word >> 3 & 1;
        }
        if own > common {
            return word >> 4 & 1;
        }
    }
    let slot = key.high.wrapping_shl(skip).wrapping_shr(64 - bits);
    let taken = skip + bits;
    *key = Key {
        high: key.high.wrapping_shl(taken) | key.low.wrapping_shr(64 - (taken & 63)),
        low: key.low.wrapping_shl(taken),
    };
    page.word(place(word).wrapping_add(1).wrapping_add(slot as u32))
}

/// What a slot says to a packet of this generation.
#[inline(always)]
fn settled<P: Pages>(pages: P, word: u64, generation: u64) -> u64 {
    if word & KIND != VERSIONS {
        return word;
    }
    let record = place(word);
    let Some(page) = pages.page(record / PAGE_WORDS) else { return OUT };
    let version = if generation >= page.word(record + RECORD_SINCE) { RECORD_NOW } else { RECORD_BEFORE };
    page.word(record + version)
}

const _: () = assert!(PAGE_BYTES.is_power_of_two() && PAGE_BYTES <= 4 << 20);
const _: () = assert!(MAX_SKIP + ROOT_BITS < 64);
const _: () = assert!(HEADER_WORDS + 1 + (1 << ROOT_BITS) <= PAGE_WORDS);
const _: () = assert!(MAX_RUN * 2 <= PAGE_WORDS && MAX_RUN.leading_zeros() == 16);
const _: () = assert!(128 - ROOT_BITS <= 2 * WORD_BITS && WORD_BITS < 63);
