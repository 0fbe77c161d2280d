//! For tests and the benchmark only, and in an object of its own: programs that look addresses up in the index of long
//! prefix lists, and in the kernel's trie.
//!
//! Each run takes the next query of an array and writes the answer beside it, so one `BPF_PROG_TEST_RUN` with many
//! repetitions answers them all.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the entry points that the macros make are called by the kernel"
)]
#![expect(missing_docs, reason = "the programs' names are their interface")]

#[path = "../src/index.rs"]
mod index;

use aya_ebpf::{
    Global,
    bindings::BPF_F_NO_PREALLOC,
    macros::{classifier, map},
    maps::{Array, LpmTrie, lpm_trie::Key},
    programs::TcContext,
};
use sg_common::index::Query;

/// One less than the number of queries, a power of two.
#[unsafe(no_mangle)]
static MASK: Global<u32> = Global::new(0);

/// What to look up.
#[map]
static QUERIES: Array<Query> = Array::with_max_entries(1, 0);
/// Runs so far.
#[map]
static TURN: Array<u64> = Array::with_max_entries(1, 0);
/// The same lists as the kernel's tries.
#[map]
static TRIE4: LpmTrie<u32, u32> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static TRIE6: LpmTrie<[u32; 4], u32> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);

/// Place of the list among the indexes.
const LIST: u32 = 0;

/// Answers the next query.
#[inline(always)]
fn answer(look_up: impl Fn(&Query) -> bool) -> i32 {
    let Some(turn) = TURN.get_ptr_mut(0) else { return -1 };
    // SAFETY: an aligned element of an array; no two test runs share the map.
    let n = unsafe {
        *turn += 1;
        *turn - 1
    };
    let Some(query) = QUERIES.get_ptr_mut(n as u32 & MASK.load()) else { return -1 };
    // SAFETY: as above.
    unsafe {
        let holds = look_up(&*query);
        (*query).answer = u64::from(holds);
    }
    0
}

#[classifier]
pub fn index4(_ctx: TcContext) -> i32 {
    answer(|query| index::holds(LIST, query.address[0], query.generation))
}

#[classifier]
pub fn index6(_ctx: TcContext) -> i32 {
    answer(|query| index::holds(LIST, query.address, query.generation))
}

#[classifier]
pub fn trie4(_ctx: TcContext) -> i32 {
    answer(|query| TRIE4.get(&Key::new(32, query.address[0])).is_some())
}

#[classifier]
pub fn trie6(_ctx: TcContext) -> i32 {
    answer(|query| TRIE6.get(&Key::new(128, query.address)).is_some())
}

/// What the programs above do besides looking up.
#[classifier]
pub fn neither(_ctx: TcContext) -> i32 {
    answer(|query| query.address[0] & 1 != 0)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
