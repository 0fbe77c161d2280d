//! For the benchmark only, and in an object of its own: a program that gives each run of a test run another sender, and
//! then goes on to the program that is measured.
//!
//! `BPF_PROG_TEST_RUN` repeats a run with one packet, whose flow would stay in the processor's caches. The same program in
//! front of an empty one costs the same, so the difference is the measured program's.
#![no_std]
#![no_main]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the entry points that the macros make are called by the kernel"
)]
#![expect(missing_docs, reason = "the programs' names are their interface")]

use aya_ebpf::{
    Global,
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, map, xdp},
    maps::{Array, ProgramArray},
    programs::{TcContext, XdpContext},
};

/// Sources are this IPv4 address, in host order, and ones with other bits of [`MASK`].
#[unsafe(no_mangle)]
static BASE: Global<u32> = Global::new(0);
/// One less than the number of sources, a power of two.
#[unsafe(no_mangle)]
static MASK: Global<u32> = Global::new(0);
/// 1: the source port changes too, once a round of all sources, so that no flow comes twice.
#[unsafe(no_mangle)]
static FRESH: Global<u32> = Global::new(0);

/// The measured program, at index 0.
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// Runs so far.
#[map]
static TURN: Array<u64> = Array::with_max_entries(1, 0);

/// Bytes of the Ethernet, IPv4 and TCP headers.
const HEADERS: usize = 54;
/// Offset of the source address.
const SOURCE: usize = 26;
/// Offset of the TCP source port.
const SOURCE_PORT: usize = 34;

/// Writes another sender into the packet.
#[inline(always)]
fn turn(data: usize, end: usize) {
    let Some(turn) = TURN.get_ptr_mut(0) else { return };
    if data + HEADERS > end {
        return;
    }
    // SAFETY: an aligned element of an array; no two test runs share the map.
    let n = unsafe {
        *turn += 1;
        *turn
    };
    // An odd factor makes a permutation of every power of two: each source comes once a round, far from the one before.
    let source = BASE.load() | ((n as u32).wrapping_mul(0x9E37_79B1) & MASK.load());
    // SAFETY: within the packet by the check above; BPF takes loads and stores of any alignment.
    unsafe {
        *((data + SOURCE) as *mut u32) = source.to_be();
        if FRESH.load() != 0 {
            let port = 1024 + (n / (u64::from(MASK.load()) + 1)) as u16 % 32_768;
            *((data + SOURCE_PORT) as *mut u16) = port.to_be();
        }
    }
}

#[xdp(frags)]
pub fn spread_xdp(ctx: XdpContext) -> u32 {
    turn(ctx.data(), ctx.data_end());
    // SAFETY: goes on to the measured program, or on to the next line where there is none.
    unsafe { TARGET.tail_call(&ctx, 0) };
    xdp_action::XDP_ABORTED
}

#[classifier]
pub fn spread_tc(ctx: TcContext) -> i32 {
    turn(ctx.data(), ctx.data_end());
    // SAFETY: as above.
    unsafe { TARGET.tail_call(&ctx, 0) };
    // Neither what the empty program nor what a drop returns.
    TC_ACT_SHOT + 100
}

#[xdp(frags)]
pub fn empty_xdp(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[classifier]
pub fn empty_tc(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
