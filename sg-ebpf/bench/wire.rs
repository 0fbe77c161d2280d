//! For the benchmark only, and in an object of its own: a sender of frames for a wire, and the least program that could
//! do a packet filter's work there.
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
    helpers::bpf_redirect,
    macros::{classifier, map, xdp},
    maps::{Array, LpmTrie, LruHashMap, lpm_trie::Key},
    programs::{TcContext, XdpContext},
};

/// The device that [`send_xdp`] sends through.
#[unsafe(no_mangle)]
static DEVICE: Global<u32> = Global::new(0);
/// One less than the number of [`SOURCES`] in use, a power of two.
#[unsafe(no_mangle)]
static MASK: Global<u32> = Global::new(0);
/// Sum of the 16-bit words of the IPv4 header, without the source address and the checksum, as the processor reads them.
#[unsafe(no_mangle)]
static SUM: Global<u32> = Global::new(0);

/// Source addresses in network order.
#[map]
static SOURCES: Array<u32> = Array::with_max_entries(1 << 14, 0);
/// Frames sent so far. There is one sender.
#[map]
static TURN: Array<u64> = Array::with_max_entries(1, 0);

/// A flow of the bare filter.
#[repr(C)]
#[derive(Clone, Copy)]
struct Flow {
    source: u32,
    destination: u32,
    /// Both.
    ports: u32,
    protocol: u32,
}

/// The bare filter's flows, of the size of the shipped table of answered ones.
#[map]
static FLOWS: LruHashMap<Flow, [u64; 4]> = LruHashMap::with_max_entries(65_536, 0);
/// Sources that the bare filter admits, in network order.
#[map]
static KNOWN: LpmTrie<u32, u32> = LpmTrie::with_max_entries(1 << 20, 1);

/// Bytes of the Ethernet and IPv4 headers and of the two ports.
const HEADERS: usize = 38;

/// Gives a frame the next source address and sends it. What a frame held before does not matter: the kernel sends
/// buffers again without filling them anew.
#[xdp]
pub fn send_xdp(ctx: XdpContext) -> u32 {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + HEADERS > end {
        return xdp_action::XDP_ABORTED;
    }
    let Some(turn) = TURN.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: an aligned element of an array; there is one sender.
    let n = unsafe {
        *turn += 1;
        *turn
    };
    let Some(source) = SOURCES.get((n as u32).wrapping_mul(0x9E37_79B1) & MASK.load()) else {
        return xdp_action::XDP_ABORTED;
    };
    let sum = SUM.load() + (source & 0xffff) + (source >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    // SAFETY: within the frame by the check above; BPF takes stores of any alignment.
    unsafe {
        *((data + 24) as *mut u16) = !sum as u16;
        *((data + 26) as *mut u32) = *source;
        bpf_redirect(DEVICE.load(), 0) as u32
    }
}

/// Whether a flow table and a trie admit an IPv4 packet: one lookup each, and nothing else that a filter has to do.
#[inline(always)]
fn admits(data: usize, end: usize) -> bool {
    if data + HEADERS > end {
        return true;
    }
    // SAFETY: within the frame by the check above; BPF takes loads of any alignment.
    let (kind, first, flow) = unsafe {
        (
            *((data + 12) as *const u16),
            *((data + 14) as *const u8),
            Flow {
                source: *((data + 26) as *const u32),
                destination: *((data + 30) as *const u32),
                ports: *((data + 34) as *const u32),
                protocol: u32::from(*((data + 23) as *const u8)),
            },
        )
    };
    // Anything but plain IPv4, ARP above all, is let through.
    if kind != 0x0800_u16.to_be() || first != 0x45 {
        return true;
    }
    FLOWS.get_ptr(&flow).is_some() || KNOWN.get(&Key::new(32, flow.source)).is_some()
}

#[xdp(frags)]
pub fn bare_xdp(ctx: XdpContext) -> u32 {
    if admits(ctx.data(), ctx.data_end()) { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
}

#[classifier]
pub fn bare_tc(ctx: TcContext) -> i32 {
    if admits(ctx.data(), ctx.data_end()) { TC_ACT_UNSPEC } else { TC_ACT_SHOT }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
