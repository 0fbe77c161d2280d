//! The compiled policy as it lies in the maps.
//!
//! A packet reads one word for the whole host, the generation ([`STATE_WORD`]), once. Everything else follows
//! from it: the interface's row of that generation names tables and port sets, which are immutable while any
//! generation that a packet may still hold refers to them.

use crate::{
    limits::{MAX_INTERFACES, OBSERVE_SECONDS},
    track::Clock,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Cells of the `STATE` array (each a `u64`).
pub const STATE_CELLS: u32 = 16;
/// Cell of the one word that a swap writes: the live generation and its bank of rows ([`word`]). 0 before the first policy.
pub const STATE_WORD: u32 = 0;
/// Cell of [`crate::SCHEMA_VERSION`].
pub const STATE_SCHEMA: u32 = 1;
/// Cell of the last generation since which every packet of older ones has left the programs.
pub const STATE_QUIESCENT: u32 = 2;
/// Cell of the last generation whose untracked tuples were swept from the flow table (P-3a).
pub const STATE_SWEPT: u32 = 3;
/// Cell of the store's revision that the live generation was compiled from.
pub const STATE_REVISION: u32 = 4;
/// Cell of the kernel's `CONFIG_HZ`, found out once.
pub const STATE_HZ: u32 = 5;

/// Cell of the id of the store that the host belongs to; 0 until the first policy.
pub const STATE_STORE: u32 = 6;
/// Cell of the last generation that was built whole: objects that were stamped since then may be referred to.
pub const STATE_WHOLE: u32 = 7;
/// Cell of the last generation that entries were staged for (see [`Versioned`]). One beyond the live generation was never
/// put in force.
pub const STATE_STAGED: u32 = 8;
/// Cell that is not 0 while entries which the live generation does not hold any more may still lie in the maps.
pub const STATE_REMOVALS: u32 = 9;
/// Cell that is not 0 while a packet may read an element which was replaced or deleted, and whose memory the kernel may
/// give to the next one: before anything is inserted, a grace period has to pass.
pub const STATE_LOOSE: u32 = 10;
/// The first of [`BANKS`] cells: for each bank, the generation that took the place of the last one it was live in.
pub const STATE_BANKS: u32 = 11;
/// Cell of the time at which the live generation was put in force, in seconds since the Unix epoch.
pub const STATE_SWAPPED: u32 = 15;
/// Revision of a generation that no store has: the next command builds anew.
pub const REVISION_NONE: u64 = u64::MAX;

/// Rows of a generation lie in one of several banks, which generations that change no row share. A bank is written again
/// only when no packet can be reading it; with several of them, few changes have to wait for that.
pub const BANKS: u32 = 4;
/// Length of the `POLICIES` array.
pub const POLICY_ROWS: u32 = BANKS * MAX_INTERFACES;
/// Bits of the word that say which bank is live. Those above count the generations.
const BANK_BITS: u32 = BANKS.ilog2();

/// The word of a generation with a bank.
#[inline(always)]
#[must_use]
pub fn word(generation: u64, bank: u32) -> u64 {
    generation << BANK_BITS | bank as u64
}

/// The generation in a word.
#[inline(always)]
#[must_use]
pub fn generation_of(word: u64) -> u64 {
    word >> BANK_BITS
}

/// The bank in a word.
#[inline(always)]
#[must_use]
pub fn bank_of(word: u64) -> u32 {
    word as u32 & (BANKS - 1)
}

/// Index into `POLICIES` of an interface's row under a word.
#[inline(always)]
#[must_use]
pub fn policy_row(word: u64, slot: u32) -> u32 {
    bank_of(word) * MAX_INTERFACES + slot
}

/// The value of an entry that changes in place: a packet that holds a word from `since` on reads `now`, one that holds an
/// older one `before`. So any number of entries change for a packet in the instant in which the generation
/// does, and one entry more costs one write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Versioned {
    /// [`word`] of a generation, with bank 0.
    pub since: u64,
    /// Class, identity, or [`ABSENT`], [`COVERED`], [`PRESENT`]; 0 is an entry that is not there.
    pub now: u32,
    /// The same as it was.
    pub before: u32,
}

impl Versioned {
    /// An entry that never changes.
    #[must_use]
    pub fn fixed(value: u32) -> Self {
        Self { since: 0, now: value, before: value }
    }

    /// What a packet that holds this word reads.
    #[inline(always)]
    #[must_use]
    pub fn at(&self, word: u64) -> u32 {
        if word >= self.since { self.now } else { self.before }
    }
}

/// Port set 0 holds nothing, so that zeroed bytes permit nothing.
pub const PORTS_NONE: u32 = 0;
/// Port set 1 holds every port.
pub const PORTS_ALL: u32 = 1;
/// Class 0 permits nothing.
pub const CLASS_NONE: u32 = 0;
/// Address table 0 is never filled.
pub const TABLE_NONE: u32 = 0;
/// The table of all members of groups: their addresses, and the identity of each.
pub const TABLE_MEMBERS: u32 = 1;
/// What a prefix list's table says of a prefix that is not there; packets that hold the generation before the one in which
/// it came read this.
pub const ABSENT: u32 = 0;
/// The prefix is not in the list itself, and a shorter one that is there covers it.
pub const COVERED: u32 = 1;
/// The prefix is in the list.
pub const PRESENT: u32 = 2;
/// View 0 is of an interface whose rules name no group.
pub const VIEW_NONE: u32 = 0;
/// Identity 0 is of an address that is in no group.
pub const IDENTITY_NONE: u32 = 0;

/// 64-bit words of a port set.
pub const PORT_WORDS: usize = 1024;
/// A set of ports, or of ICMP type and code (`type << 8 | code`): bit `n & 63` of word `n >> 6`.
pub type PortSet = [u64; PORT_WORDS];

/// What rules together permit: one port set a protocol. Addresses, lists and identities map to classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Class {
    /// Port set for TCP: local ports inward, remote ports outward.
    pub tcp: u32,
    /// Port set for UDP.
    pub udp: u32,
    /// Type-and-code set for ICMP, or ICMPv6 in IPv6 tables.
    pub icmp: u32,
    /// Explicit padding.
    pub reserved: u32,
    /// Every other protocol number: bit `n & 63` of word `n >> 6`.
    pub protocols: [u64; 4],
}

/// Families index arrays of [`Policy`]: 0 is IPv4, 1 is IPv6.
pub const FAMILIES: usize = 2;
/// Local addresses that a row holds itself (P-20); more are looked up in `LOCALS`.
pub const INLINE_LOCALS: usize = 4;

/// Prefix lists that a row looks up by themselves, per family and direction; the compiler merges further ones into the
/// interface's own table.
pub const INLINE_LISTS: usize = 4;

/// A prefix list that rules name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListUse {
    /// Its address table, whose entries are there or not; [`HAS_ADDRESSES`] and [`HAS_PREFIXES`] in the upper bits say
    /// where to look. Where there is an index of its prefixes ([`index_place`]), they are there.
    pub table: u32,
    /// What the rules permit to its addresses; [`CLASS_NONE`] behind the last list.
    pub class: u32,
}

/// What rules make of one direction of one family: the union of what their own CIDR blocks, the groups that they name, and
/// the prefix lists permit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Lookup {
    /// Address table of CIDR blocks, first word of the keys in `ADDRESSES` and `PREFIXES`, with [`HAS_ADDRESSES`] and
    /// [`HAS_PREFIXES`] in the upper bits. Each entry holds the union of all blocks around it.
    pub table: u32,
    /// Class of an address that the table does not hold: what `0.0.0.0/0` or `::/0` permits.
    pub world: u32,
    /// What the groups that rules name permit: first word of the keys in `VIEWS`.
    pub view: u32,
    /// Explicit padding.
    pub reserved: u32,
    /// Prefix lists.
    pub lists: [ListUse; INLINE_LISTS],
}

/// The table has single addresses.
pub const HAS_ADDRESSES: u32 = 1 << 31;
/// The table has prefixes that are shorter than an address.
pub const HAS_PREFIXES: u32 = 1 << 30;

/// Bits of the number of a table; those of the place of its index are above them.
const TABLE_BITS: u32 = 24;

/// The number of a table without what is said of it in the upper bits.
#[inline(always)]
#[must_use]
pub fn table_number(table: u32) -> u32 {
    table & ((1 << TABLE_BITS) - 1)
}

/// The place of the index of a list's prefixes in `INDEXES`; 0 is none.
#[inline(always)]
#[must_use]
pub fn index_place(table: u32) -> u32 {
    (table & !(HAS_ADDRESSES | HAS_PREFIXES)) >> TABLE_BITS
}

/// What a table's number says of the place of its index.
#[must_use]
pub fn indexed_at(place: u32) -> u32 {
    place << TABLE_BITS
}

/// Key of `VIEWS`: what an interface's rules permit to members of groups.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ViewKey {
    /// [`Lookup::view`]
    pub view: u32,
    /// The set of groups that the address is a member of.
    pub identity: u32,
}

/// One interface in one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Policy {
    /// Untracked when started inward to one of these *local* ports (P-2a): `[family][0 TCP, 1 UDP]`.
    pub open_in: [[u32; 2]; FAMILIES],
    /// Untracked when started outward to one of these *remote* ports (P-2b).
    pub open_out: [[u32; 2]; FAMILIES],
    /// `[family][direction]`.
    pub lookup: [[Lookup; 2]; FAMILIES],
    /// [`POLICY_PRESENT`] and the switches.
    pub flags: u32,
    /// Seconds (T-19).
    pub tcp_established: u32,
    /// Seconds.
    pub udp: u32,
    /// Seconds.
    pub udp_stream: u32,
    /// The interface's IPv4 addresses, zero where unused.
    pub locals_v4: [u32; INLINE_LOCALS],
    /// The interface's IPv6 addresses, zero where unused.
    pub locals_v6: [[u32; 4]; INLINE_LOCALS],
    /// With [`OBSERVES`]: jiffies at which the interface begins to enforce.
    pub observe_until: u64,
}

impl Policy {
    /// Whether the interface does not enforce yet, but observes. Without anybody's doing that ends at the moment that the
    /// row names; one that is further off than an observation can last is of another boot's clock, and counts for nothing.
    #[inline(always)]
    #[must_use]
    pub fn observes(&self, clock: &Clock) -> bool {
        let left = self.observe_until.wrapping_sub(clock.now);
        self.flags & OBSERVES != 0 && left != 0 && left <= u64::from(OBSERVE_SECONDS) * clock.hz
    }
}

/// The row is filled. A packet that finds it unset is dropped as `no_policy`.
pub const POLICY_PRESENT: u32 = 1;
/// Source and destination check (P-20).
pub const CHECK_SOURCE: u32 = 1 << 1;
/// DHCP is exempt (P-10).
pub const EXEMPT_DHCP: u32 = 1 << 2;
/// ICMP errors need rules (P-8).
pub const REQUIRE_ICMP_RULES: u32 = 1 << 3;
/// Frames that are neither IP nor exempt pass (P-10).
pub const PASS_NON_IP: u32 = 1 << 4;
/// The interface has more IPv4 addresses than the row holds: ask `LOCALS`.
pub const MORE_LOCALS_V4: u32 = 1 << 5;
/// The same for IPv6.
pub const MORE_LOCALS_V6: u32 = 1 << 6;

/// The interface observes before it enforces (P-22): see [`Policy::observes`].
pub const OBSERVES: u32 = 1 << 7;

/// Key of `LOCALS`: an address of an interface. Kept per bank, as the rows are.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LocalKey {
    /// [`policy_row`] of the interface.
    pub row: u32,
    /// IPv4 in the first word, the others zero.
    pub address: [u32; 4],
}

/// Key of `ADDRESSES4`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AddressKey4 {
    /// [`table_number`] of [`Lookup::table`] or [`ListUse::table`], or [`TABLE_MEMBERS`].
    pub table: u32,
    /// As in the packet.
    pub address: u32,
}

/// Key of `ADDRESSES6`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AddressKey6 {
    /// As in [`AddressKey4`].
    pub table: u32,
    /// As in the packet.
    pub address: [u32; 4],
}

/// Key of `PREFIXES4`, as the kernel's trie wants it: `bits` counts the table's 32 as well.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PrefixKey4 {
    /// 32 and the length of the prefix.
    pub bits: u32,
    /// Table and address.
    pub at: AddressKey4,
}

/// Key of `PREFIXES6`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PrefixKey6 {
    /// 32 and the length of the prefix.
    pub bits: u32,
    /// Table and address.
    pub at: AddressKey6,
}

/// Cells of the `CLOCK` array (each a `u64`), all in jiffies but the last.
pub const CLOCK_CELLS: u32 = 3;
/// What a program that was loaded with a test clock takes for now.
pub const CLOCK_TEST: u32 = 0;
/// What `sg_clock` found jiffies to be.
pub const CLOCK_JIFFIES: u32 = 1;
/// What it found the monotonic clock to be at that moment, in nanoseconds.
pub const CLOCK_MONOTONIC: u32 = 2;

/// Cells of the `CURSORS` array (each a `u64`): two a family, its [`Cursor`]s.
pub const CURSOR_CELLS: u32 = 4;

/// What the cells of `CURSORS` are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cursor {
    /// Where the hand stands that looks for dead entries among the established ones.
    Hand = 0,
    /// Jiffies when it last found none.
    Full = 1,
}

/// Index into `CURSORS`; `family` is 0 or 1.
#[inline(always)]
#[must_use]
pub fn cursor_cell(family: usize, cursor: Cursor) -> u32 {
    family as u32 * 2 + cursor as u32
}

/// Words of `HINTS`: bits that tell for which ports the flow table must be asked before the open ports (P-2).
pub const HINT_WORDS: u32 = 1 << 16;

/// Bit in `HINTS` of a port. Interfaces sixteen slots apart share bits: a bit that is set costs a look into the flow
/// table and changes no verdict. `remote` is true of flows started inward, whose remote port is marked.
#[inline(always)]
#[must_use]
pub fn hint_bit(slot: u32, udp: bool, remote: bool, port: u16) -> u32 {
    (slot & 15) << 18 | u32::from(udp) << 17 | u32::from(remote) << 16 | u32::from(port)
}

/// One cell of `COUNTERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counter {
    /// Wire packets.
    pub packets: u64,
    /// Bytes from layer 2.
    pub bytes: u64,
}

/// Cells of `COUNTERS` that one interface has: both directions, every reason.
pub const COUNTERS_PER_INTERFACE: u32 = 2 * crate::reason::REASONS;

/// Index into `COUNTERS`.
#[inline(always)]
#[must_use]
pub fn counter_index(slot: u32, direction: crate::Direction, reason: u32) -> u32 {
    slot * COUNTERS_PER_INTERFACE + direction as u32 * crate::reason::REASONS + reason
}

const _: () = assert!(size_of::<Class>() == 48);
const _: () = assert!(size_of::<Lookup>() == 48);
const _: () = assert!(size_of::<Policy>() == 328 && align_of::<Policy>() == 8);
const _: () = assert!(size_of::<Versioned>() == 16);
const _: () = assert!(size_of::<PortSet>() == 8192);
const _: () = assert!(size_of::<AddressKey4>() == 8 && size_of::<AddressKey6>() == 20);
const _: () = assert!(size_of::<LocalKey>() == 20);
const _: () = assert!(size_of::<Counter>() == 16);
const _: () = assert!(BANKS.is_power_of_two() && STATE_BANKS + BANKS <= STATE_SWAPPED);
const _: () = assert!(STATE_SWAPPED < STATE_CELLS);
const _: () = assert!(crate::limits::MAX_TABLES <= 1 << TABLE_BITS);
const _: () = assert!(crate::index::MAX_INDEXES << TABLE_BITS <= HAS_PREFIXES);
const _: () = assert!(16 << 18 == HINT_WORDS * 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_bytes_permit_nothing() {
        let policy = Policy::read_from_bytes(&[0; size_of::<Policy>()]).unwrap();
        assert_eq!(policy.flags & POLICY_PRESENT, 0);
        assert_eq!(policy.lookup[0][0].world, CLASS_NONE);
        assert_eq!(policy.open_in[0][0], PORTS_NONE);
        let class = Class::read_from_bytes(&[0; size_of::<Class>()]).unwrap();
        assert_eq!((class.tcp, class.protocols), (PORTS_NONE, [0; 4]));
    }

    #[test]
    fn p22_an_observation_ends_by_itself_and_is_never_longer_than_it_may_be() {
        let at = |now| Clock { now, hz: 250, second_shift: 8 };
        let policy = Policy { flags: OBSERVES, observe_until: 10_750, ..Policy::default() };
        assert!(policy.observes(&at(10_000)) && policy.observes(&at(10_749)));
        assert!(!policy.observes(&at(10_750)) && !policy.observes(&at(u64::MAX)));
        assert!(!policy.observes(&at(9_999)), "a moment of another boot");
        assert!(!Policy { flags: 0, ..policy }.observes(&at(10_000)));
    }

    #[test]
    fn rows_of_two_banks_never_meet() {
        assert_ne!(policy_row(word(4, 0), 7), policy_row(word(4, 1), 7));
        assert_eq!(policy_row(word(4, 3), 7), policy_row(word(5, 3), 7));
        assert!(policy_row(u64::MAX, MAX_INTERFACES - 1) < POLICY_ROWS);
        assert_eq!((generation_of(word(9, 3)), bank_of(word(9, 3))), (9, 3));
    }

    #[test]
    fn an_entry_changes_with_the_generation() {
        let entry = Versioned { since: word(8, 0), now: 2, before: 1 };
        assert_eq!([word(7, 3), word(8, 0), word(8, 3)].map(|word| entry.at(word)), [1, 2, 2]);
        assert_eq!(Versioned::fixed(3).at(0), 3);
    }
}
