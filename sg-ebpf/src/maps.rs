//! The maps, and the few functions that touch them with `unsafe`.
//!
//! Names fit the kernel's 15 characters. Policy maps are written by `sg-ctl` only; flow and counter maps can be given
//! to an instance of the programs privately, so that a second load may judge by the same policy without a trace.

use crate::{pipeline::Packet, rules};
use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::bpf_jiffies64,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, lpm_trie::Key},
};
use core::intrinsics::{AtomicOrdering, atomic_or, atomic_xadd};
use sg_common::{
    flow::{Flow, FlowKey4, FlowKey6, FragmentHead, FragmentKey4, FragmentKey6, KeyHead},
    index::Address,
    limits,
    mark::{self, MARK_BLOCKS, MarkBlock},
    packet::Family,
    policy::{
        AddressKey4, AddressKey6, CLASS_NONE, CLOCK_CELLS, CLOCK_TEST, COUNTERS_PER_INTERFACE, CURSOR_CELLS,
        Class, Counter, Cursor, HINT_WORDS, LocalKey, POLICY_ROWS, Policy, PortSet, STATE_CELLS, STATE_WORD,
        Versioned, ViewKey, cursor_cell, policy_row,
    },
    track::Clock,
};

#[map]
static STATE: Array<u64> = Array::with_max_entries(STATE_CELLS, 0);
#[map]
static POLICIES: Array<Policy> = Array::with_max_entries(POLICY_ROWS, 0);
#[map]
static CLASSES: Array<Class> = Array::with_max_entries(limits::MAX_CLASSES, 0);
#[map]
static PORT_SETS: Array<PortSet> = Array::with_max_entries(limits::MAX_PORT_SETS, 0);
#[map]
static ADDRESSES4: HashMap<AddressKey4, Versioned> =
    HashMap::with_max_entries(limits::MAX_ADDRESSES, BPF_F_NO_PREALLOC);
#[map]
static ADDRESSES6: HashMap<AddressKey6, Versioned> =
    HashMap::with_max_entries(limits::MAX_ADDRESSES, BPF_F_NO_PREALLOC);
#[map]
static PREFIXES4: LpmTrie<[u32; 2], Versioned> =
    LpmTrie::with_max_entries(limits::MAX_PREFIXES, BPF_F_NO_PREALLOC);
#[map]
static PREFIXES6: LpmTrie<[u32; 5], Versioned> =
    LpmTrie::with_max_entries(limits::MAX_PREFIXES, BPF_F_NO_PREALLOC);
#[map]
static VIEWS: HashMap<ViewKey, u32> = HashMap::with_max_entries(limits::MAX_VIEW_ENTRIES, BPF_F_NO_PREALLOC);
#[map]
static LOCALS: HashMap<LocalKey, u32> = HashMap::with_max_entries(limits::MAX_LOCALS, BPF_F_NO_PREALLOC);

#[map]
static ESTABLISHED4: HashMap<FlowKey4, Flow> = HashMap::with_max_entries(limits::MAX_ESTABLISHED_V4, 0);
#[map]
static ESTABLISHED6: HashMap<FlowKey6, Flow> = HashMap::with_max_entries(limits::MAX_ESTABLISHED_V6, 0);
/// The key of every established flow, in the order in which they came: what [`crate::reclaim`] walks.
#[map]
static RING4: Array<FlowKey4> = Array::with_max_entries(limits::MAX_ESTABLISHED_V4, 0);
#[map]
static RING6: Array<FlowKey6> = Array::with_max_entries(limits::MAX_ESTABLISHED_V6, 0);
#[map]
static CURSORS: Array<u64> = Array::with_max_entries(CURSOR_CELLS, 0);
#[map]
static ANSWERED4: LruHashMap<FlowKey4, Flow> = LruHashMap::with_max_entries(limits::MAX_ANSWERED_V4, 0);
#[map]
static ANSWERED6: LruHashMap<FlowKey6, Flow> = LruHashMap::with_max_entries(limits::MAX_ANSWERED_V6, 0);
#[map]
static PENDING4: LruHashMap<FlowKey4, Flow> = LruHashMap::with_max_entries(limits::MAX_PENDING_V4, 0);
#[map]
static PENDING6: LruHashMap<FlowKey6, Flow> = LruHashMap::with_max_entries(limits::MAX_PENDING_V6, 0);
#[map]
static FRAGMENTS4: LruHashMap<FragmentKey4, u64> = LruHashMap::with_max_entries(limits::MAX_FRAGMENTED, 0);
#[map]
static FRAGMENTS6: LruHashMap<FragmentKey6, u64> = LruHashMap::with_max_entries(limits::MAX_FRAGMENTED, 0);
#[map]
static HINTS: Array<u64> = Array::with_max_entries(HINT_WORDS, 0);
/// Two filters: flows that started inward, then flows that started outward.
#[map]
static MARKS: Array<MarkBlock> = Array::with_max_entries(2 * MARK_BLOCKS, 0);

#[map]
static COUNTERS: PerCpuArray<Counter> =
    PerCpuArray::with_max_entries(limits::MAX_INTERFACES * COUNTERS_PER_INTERFACE, 0);
/// Scratch memory, one packet a processor.
#[map]
static PACKET4: PerCpuArray<Packet<u32>> = PerCpuArray::with_max_entries(1, 0);
#[map]
static PACKET6: PerCpuArray<Packet<[u32; 4]>> = PerCpuArray::with_max_entries(1, 0);
#[map]
static CLOCK: Array<u64> = Array::with_max_entries(CLOCK_CELLS, 0);

/// The tables of one address family.
pub trait Tables: Family + Address + 'static {
    /// This processor's scratch memory for the packet at hand. Programs of both hooks run with bottom halves off,
    /// so no other packet can come in between on the same processor.
    fn scratch() -> Option<&'static mut Packet<Self>>;
    /// Key of the flow tables.
    type FlowKey: Copy + 'static;
    /// Key of the fragment table.
    type FragmentKey: 'static;

    /// The flow's key.
    fn flow_key(head: KeyHead, local: Self, remote: Self) -> Self::FlowKey;
    /// The datagram's key.
    fn fragment_key(head: FragmentHead, source: Self, destination: Self) -> Self::FragmentKey;
    /// The place in the ring of established flows' keys that a turn falls on; turns count on for ever.
    fn place(turn: u64) -> u32;
    /// The key at a place of the ring.
    fn ring(place: u32) -> Option<*mut Self::FlowKey>;
    /// What keys of both families have in common.
    fn head(key: &Self::FlowKey) -> &KeyHead;
    /// Established TCP.
    fn established() -> &'static HashMap<Self::FlowKey, Flow>;
    /// Answered UDP, ICMP and others.
    fn answered() -> &'static LruHashMap<Self::FlowKey, Flow>;
    /// Half-open and unanswered.
    fn pending() -> &'static LruHashMap<Self::FlowKey, Flow>;
    /// Datagrams whose first fragment passed.
    fn fragments() -> &'static LruHashMap<Self::FragmentKey, u64>;
    /// What the table has for the single address in that generation; 0 is nothing.
    fn at_address(table: u32, address: Self, generation: u64) -> u32;
    /// What the table has for the longest prefix that covers the address; 0 is nothing.
    fn at_prefix(table: u32, address: Self, generation: u64) -> u32;
    /// Whether the prefix list of this table covers the address.
    fn in_list(table: u32, address: Self, generation: u64) -> bool;
    /// A hash of both addresses for the mark filter.
    fn hash(local: Self, remote: Self) -> u64;
    /// The address as four words.
    fn words(self) -> [u32; 4];
    /// The local addresses that the policy row holds.
    fn inline_locals(policy: &Policy) -> &[Self; 4];
}

impl Tables for u32 {
    type FlowKey = FlowKey4;
    type FragmentKey = FragmentKey4;

    #[inline(always)]
    fn scratch() -> Option<&'static mut Packet<Self>> {
        // SAFETY: this processor's own element, which no other program uses at the same time.
        PACKET4.get_ptr_mut(0).map(|packet| unsafe { &mut *packet })
    }
    #[inline(always)]
    fn flow_key(head: KeyHead, local: Self, remote: Self) -> FlowKey4 {
        FlowKey4 { head, local, remote }
    }
    #[inline(always)]
    fn fragment_key(head: FragmentHead, source: Self, destination: Self) -> FragmentKey4 {
        FragmentKey4 { head, source, destination }
    }
    #[inline(always)]
    fn place(turn: u64) -> u32 {
        turn as u32 & (limits::MAX_ESTABLISHED_V4 - 1)
    }
    #[inline(always)]
    fn ring(place: u32) -> Option<*mut FlowKey4> {
        RING4.get_ptr_mut(place)
    }
    #[inline(always)]
    fn head(key: &FlowKey4) -> &KeyHead {
        &key.head
    }
    #[inline(always)]
    fn established() -> &'static HashMap<FlowKey4, Flow> {
        &ESTABLISHED4
    }
    #[inline(always)]
    fn answered() -> &'static LruHashMap<FlowKey4, Flow> {
        &ANSWERED4
    }
    #[inline(always)]
    fn pending() -> &'static LruHashMap<FlowKey4, Flow> {
        &PENDING4
    }
    #[inline(always)]
    fn fragments() -> &'static LruHashMap<FragmentKey4, u64> {
        &FRAGMENTS4
    }
    #[inline(always)]
    fn at_address(table: u32, address: Self, generation: u64) -> u32 {
        // SAFETY: no element is given to another key while a packet can hold it (`STATE_LOOSE`).
        unsafe { ADDRESSES4.get(&AddressKey4 { table, address }) }.map_or(0, |entry| entry.at(generation))
    }
    #[inline(always)]
    fn at_prefix(table: u32, address: Self, generation: u64) -> u32 {
        PREFIXES4.get(&Key::new(64, [table, address])).map_or(0, |entry| entry.at(generation))
    }
    #[inline(always)]
    fn in_list(table: u32, address: Self, generation: u64) -> bool {
        rules::sg_in_list4(table, address, generation) != 0
    }
    #[inline(always)]
    fn hash(local: Self, remote: Self) -> u64 {
        mark::addresses4(local, remote)
    }
    #[inline(always)]
    fn words(self) -> [u32; 4] {
        [self, 0, 0, 0]
    }
    #[inline(always)]
    fn inline_locals(policy: &Policy) -> &[Self; 4] {
        &policy.locals_v4
    }
}

impl Tables for [u32; 4] {
    type FlowKey = FlowKey6;
    type FragmentKey = FragmentKey6;

    #[inline(always)]
    fn scratch() -> Option<&'static mut Packet<Self>> {
        // SAFETY: this processor's own element, which no other program uses at the same time.
        PACKET6.get_ptr_mut(0).map(|packet| unsafe { &mut *packet })
    }
    #[inline(always)]
    fn flow_key(head: KeyHead, local: Self, remote: Self) -> FlowKey6 {
        FlowKey6 { head, local, remote }
    }
    #[inline(always)]
    fn fragment_key(head: FragmentHead, source: Self, destination: Self) -> FragmentKey6 {
        FragmentKey6 { head, source, destination }
    }
    #[inline(always)]
    fn place(turn: u64) -> u32 {
        turn as u32 & (limits::MAX_ESTABLISHED_V6 - 1)
    }
    #[inline(always)]
    fn ring(place: u32) -> Option<*mut FlowKey6> {
        RING6.get_ptr_mut(place)
    }
    #[inline(always)]
    fn head(key: &FlowKey6) -> &KeyHead {
        &key.head
    }
    #[inline(always)]
    fn established() -> &'static HashMap<FlowKey6, Flow> {
        &ESTABLISHED6
    }
    #[inline(always)]
    fn answered() -> &'static LruHashMap<FlowKey6, Flow> {
        &ANSWERED6
    }
    #[inline(always)]
    fn pending() -> &'static LruHashMap<FlowKey6, Flow> {
        &PENDING6
    }
    #[inline(always)]
    fn fragments() -> &'static LruHashMap<FragmentKey6, u64> {
        &FRAGMENTS6
    }
    #[inline(always)]
    fn at_address(table: u32, address: Self, generation: u64) -> u32 {
        // SAFETY: as for IPv4.
        unsafe { ADDRESSES6.get(&AddressKey6 { table, address }) }.map_or(0, |entry| entry.at(generation))
    }
    #[inline(always)]
    fn at_prefix(table: u32, address: Self, generation: u64) -> u32 {
        let [a, b, c, d] = address;
        PREFIXES6.get(&Key::new(160, [table, a, b, c, d])).map_or(0, |entry| entry.at(generation))
    }
    #[inline(always)]
    fn in_list(table: u32, address: Self, generation: u64) -> bool {
        let [a, b, c, d] = address.map(u64::from);
        rules::sg_in_list6(table, a | b << 32, c | d << 32, generation) != 0
    }
    #[inline(always)]
    fn hash(local: Self, remote: Self) -> u64 {
        mark::addresses6(local, remote)
    }
    #[inline(always)]
    fn words(self) -> [u32; 4] {
        self
    }
    #[inline(always)]
    fn inline_locals(policy: &Policy) -> &[Self; 4] {
        &policy.locals_v6
    }
}

/// The one word that a swap writes: the live generation. Read it once a packet.
#[inline(always)]
pub fn live_word() -> u64 {
    STATE.get(STATE_WORD).copied().unwrap_or(0)
}

/// The interface's row in that generation.
#[inline(always)]
pub fn policy(generation: u64, slot: u32) -> Option<&'static Policy> {
    POLICIES.get(policy_row(generation, slot))
}

/// What a view permits to an identity, by number; [`CLASS_NONE`] where it names none of its groups.
#[inline(always)]
pub fn class_in_view(view: u32, identity: u32) -> u32 {
    // SAFETY: an entry goes only when no packet can hold its view or its identity.
    unsafe { VIEWS.get(&ViewKey { view, identity }) }.copied().unwrap_or(CLASS_NONE)
}

/// A class by number.
#[inline(always)]
pub fn class(number: u32) -> Option<&'static Class> {
    CLASSES.get(number)
}

/// Whether a port set holds this port, or this ICMP type and code.
#[inline(always)]
pub fn port_set_holds(set: u32, point: u16) -> bool {
    match PORT_SETS.get(set) {
        // SAFETY: a u16 shifted right by 6 is below 1024, the length of the set; the check that indexing would add
        // is one the verifier cannot follow.
        Some(words) => unsafe { *words.get_unchecked(usize::from(point >> 6)) >> (point & 63) & 1 != 0 },
        None => false,
    }
}

/// Whether the address is one of the interface's that did not fit into its row.
#[inline(always)]
pub fn is_further_local(row: u32, address: [u32; 4]) -> bool {
    // SAFETY: the value is not looked at.
    unsafe { LOCALS.get(&LocalKey { row, address }) }.is_some()
}

/// The entry of a flow, to be changed in place.
#[inline(always)]
pub fn flow_mut(pointer: Option<*mut Flow>) -> Option<&'static mut Flow> {
    // SAFETY: the memory of an element stays an element of its map while the program runs. Another processor may write
    // to it at the same time, or give it to another flow (these maps are preallocated): every field is written whole,
    // and the worst outcome is that a packet of the same instant is recorded on the wrong flow or not at all.
    pointer.map(|flow| unsafe { &mut *flow })
}

/// Counts a packet on its flow.
#[inline(always)]
pub fn count_flow(flow: &mut Flow, packets: u64, bytes: u64) {
    // SAFETY: both are aligned fields of a live map element.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut flow.packets, packets);
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut flow.bytes, bytes);
    }
}

/// What an attempt to make an entry came to.
#[derive(PartialEq, Eq)]
pub enum Insert {
    /// The entry is there now, or was already.
    Present,
    /// The table is full.
    Full,
}

/// Tells "exists already", which is no failure, from "full".
#[inline(always)]
pub fn inserted(result: Result<(), i32>) -> Insert {
    const EEXIST: i32 = -17;
    match result {
        Ok(()) | Err(EEXIST) => Insert::Present,
        Err(_) => Insert::Full,
    }
}

/// The next turn of the hand of this family.
#[inline(always)]
pub fn next_turn(family: usize) -> Option<u64> {
    let hand = CURSORS.get_ptr_mut(cursor_cell(family, Cursor::Hand))?;
    // Not relaxed: for a relaxed addition LLVM 22 chooses the instruction that does not fetch, and returns the addend.
    // SAFETY: an aligned element of an array, which is never freed.
    Some(unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(hand, 1) })
}

/// When the hand last found every place taken.
#[inline(always)]
pub fn full_at(family: usize) -> u64 {
    CURSORS.get(cursor_cell(family, Cursor::Full)).copied().unwrap_or(0)
}

/// Writes that down.
#[inline(always)]
pub fn set_full_at(family: usize, now: u64) {
    if let Some(full) = CURSORS.get_ptr_mut(cursor_cell(family, Cursor::Full)) {
        // SAFETY: an aligned element of an array, which is never freed.
        unsafe { *full = now };
    }
}

/// Flag of `insert`: only where there is no entry yet.
pub const ONLY_NEW: u64 = BPF_NOEXIST as u64;

/// Whether this hint bit is set.
#[inline(always)]
pub fn hint(bit: u32) -> bool {
    HINTS.get(bit >> 6).is_some_and(|word| word >> (bit & 63) & 1 != 0)
}

/// Sets a hint bit.
#[inline(always)]
pub fn set_hint(bit: u32) {
    if let Some(word) = HINTS.get_ptr_mut(bit >> 6) {
        let mask = 1u64 << (bit & 63);
        // SAFETY: an aligned element of an array, which is never freed while the program is loaded.
        unsafe {
            if *word & mask == 0 {
                atomic_or::<u64, u64, { AtomicOrdering::Relaxed }>(word, mask);
            }
        }
    }
}

/// A block of the mark filters.
#[inline(always)]
pub fn mark_block(index: u32) -> Option<&'static mut MarkBlock> {
    // SAFETY: an element of an array, which is never freed; for the races see `MarkBlock::set`.
    MARKS.get_ptr_mut(index).map(|block| unsafe { &mut *block })
}

/// Counts a verdict.
#[inline(always)]
pub fn count(index: u32, packets: u64, bytes: u64) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: this processor's own element.
        unsafe {
            (*counter).packets += packets;
            (*counter).bytes += bytes;
        }
    }
}

/// The moment: jiffies, which cost nothing to read, or the cell that a test moves. The branch is on a load-time
/// constant, and the verifier removes the side that cannot be taken.
#[inline(always)]
pub fn clock(test_clock: bool, hz: u32, second_shift: u32) -> Clock {
    let now = if test_clock {
        CLOCK.get(CLOCK_TEST).copied().unwrap_or(0)
    } else {
        // SAFETY: a helper without arguments or effects.
        unsafe { bpf_jiffies64() }
    };
    Clock { now, hz: u64::from(hz), second_shift }
}

/// Writes a cell of the clock map.
#[inline(always)]
pub fn set_clock(cell: u32, value: u64) {
    if let Some(clock) = CLOCK.get_ptr_mut(cell) {
        // SAFETY: an aligned element of an array, which is never freed.
        unsafe { *clock = value };
    }
}
