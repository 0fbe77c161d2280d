//! For the benchmark only, and in an object of its own: a program that gives each run of a test run another sender, and
//! then goes on to the program that is measured; and what the pipeline is held against.
//!
//! `BPF_PROG_TEST_RUN` repeats a run with one packet, whose flow would stay in the processor's caches. The same program in
//! front of each of the others costs the same. Those are: one that does nothing; one that parses as the pipeline does, by
//! the same parser, and does nothing else; one that parses and looks for the packet's flow in a table of flows.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the entry points that the macros make are called by the kernel"
)]
#![expect(missing_docs, reason = "the programs' names are their interface")]

#[path = "../src/cursor.rs"]
#[expect(dead_code, reason = "the pipeline's own, of which the parser needs less")]
mod cursor;

use aya_ebpf::{
    Global,
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::generated::bpf_xdp_get_buff_len,
    macros::{classifier, map, xdp},
    maps::{Array, HashMap, ProgramArray},
    programs::{TcContext, XdpContext},
};
use cursor::PacketPointers;
use sg_common::{
    Direction,
    flow::{Flow, FlowKey4, FlowKey6, KeyHead},
    packet::{self, Family, Network, Transport},
    vlan::Vlans,
    wire::ethertype,
};

/// 1: packets differ at all.
#[unsafe(no_mangle)]
static VARY: Global<u32> = Global::new(0);
/// The last four bytes of source addresses are this number, and ones with other bits of [`MASK`].
#[unsafe(no_mangle)]
static BASE: Global<u32> = Global::new(0);
/// One less than the number of sources, a power of two.
#[unsafe(no_mangle)]
static MASK: Global<u32> = Global::new(0);
/// 1: the source port changes too, once a round of all sources, so that no flow comes twice.
#[unsafe(no_mangle)]
static FRESH: Global<u32> = Global::new(0);
/// Bits in which destination ports differ; 0: all have the packet's own.
#[unsafe(no_mangle)]
static PORTS: Global<u32> = Global::new(0);
/// One less than the number of measured programs, a power of two: senders are shared out among them.
#[unsafe(no_mangle)]
static TARGETS: Global<u32> = Global::new(0);
/// Offset of the last four bytes of the source address.
#[unsafe(no_mangle)]
static SOURCE_AT: Global<u32> = Global::new(26);
/// Offset of the ports.
#[unsafe(no_mangle)]
static PORTS_AT: Global<u32> = Global::new(34);

/// The measured programs.
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1024, 0);
/// Runs so far.
#[map]
static TURN: Array<u64> = Array::with_max_entries(1, 0);
/// The pipeline's own, where a bare lookup is measured.
#[map]
static FLOWS4: HashMap<FlowKey4, Flow> = HashMap::with_max_entries(1, 0);
#[map]
static FLOWS6: HashMap<FlowKey6, Flow> = HashMap::with_max_entries(1, 0);

/// Writes another sender into the packet. Returns which of the programs is to see it.
#[inline(always)]
fn turn(data: usize, end: usize) -> u32 {
    if VARY.load() == 0 {
        return 0;
    }
    let Some(turn) = TURN.get_ptr_mut(0) else { return 0 };
    let (source_at, ports_at) = (data + SOURCE_AT.load() as usize, data + PORTS_AT.load() as usize);
    if source_at + 4 > end || ports_at + 4 > end {
        return 0;
    }
    // SAFETY: an aligned element of an array; no two test runs share the map.
    let n = unsafe {
        *turn += 1;
        *turn
    };
    // An odd factor makes a permutation of every power of two: each source comes once a round, far from the one before.
    let spread = (n as u32).wrapping_mul(0x9E37_79B1);
    let source = BASE.load() | (spread & MASK.load());
    // SAFETY: within the packet by the check above; BPF takes loads and stores of any alignment.
    unsafe {
        *(source_at as *mut u32) = source.to_be();
        if FRESH.load() != 0 {
            let port = 1024 + (n / (u64::from(MASK.load()) + 1)) as u16 % 32_768;
            *(ports_at as *mut u16) = port.to_be();
        }
        if PORTS.load() != 0 {
            let port = (spread >> 16 & PORTS.load()) as u16 | (PORTS.load() as u16 + 1);
            *((ports_at + 2) as *mut u16) = port.to_be();
        }
    }
    spread & TARGETS.load()
}

#[xdp(frags)]
pub fn spread_xdp(ctx: XdpContext) -> u32 {
    let target = turn(ctx.data(), ctx.data_end());
    // SAFETY: goes on to the measured program, or on to the next line where there is none.
    unsafe { TARGET.tail_call(&ctx, target) };
    xdp_action::XDP_ABORTED
}

#[classifier]
pub fn spread_tc(ctx: TcContext) -> i32 {
    let target = turn(ctx.data(), ctx.data_end());
    // SAFETY: as above.
    unsafe { TARGET.tail_call(&ctx, target) };
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

/// Zero; the compiler does not know.
#[unsafe(no_mangle)]
static NOTHING: Global<u32> = Global::new(0);

/// What is done with a packet that was parsed: whether it passes.
trait Deed {
    fn v4(network: &Network<u32>, transport: &Transport) -> bool;
    fn v6(network: &Network<[u32; 4]>, transport: &Transport) -> bool;
}

/// Nothing but to need each field that was parsed, so that the compiler leaves none out.
struct Nothing;

#[inline(always)]
fn sum<A>(network: &Network<A>, transport: &Transport) -> u32 {
    u32::from(network.protocol)
        ^ u32::from(network.hop_limit)
        ^ network.fragment as u32
        ^ network.fragment_id
        ^ network.fragment_offset
        ^ transport.sequence
        ^ transport.acknowledgement
        ^ u32::from(transport.source_port)
        ^ u32::from(transport.destination_port)
        ^ u32::from(transport.flags)
        ^ transport.length
}

impl Deed for Nothing {
    #[inline(always)]
    fn v4(network: &Network<u32>, transport: &Transport) -> bool {
        (sum(network, transport) ^ network.source ^ network.destination) & NOTHING.load() == 0
    }

    #[inline(always)]
    fn v6(network: &Network<[u32; 4]>, transport: &Transport) -> bool {
        let words = network.source.iter().chain(&network.destination);
        words.fold(sum(network, transport), |sum, word| sum ^ word) & NOTHING.load() == 0
    }
}

/// One look into a table of flows.
struct Lookup;

#[inline(always)]
fn head<A>(network: &Network<A>, transport: &Transport) -> KeyHead {
    let (local_port, remote_port) = transport.ports(Direction::Ingress);
    KeyHead { slot: 0, protocol: network.protocol, start: 0, local_port, remote_port, vlans: Vlans::NONE }
}

impl Deed for Lookup {
    #[inline(always)]
    fn v4(network: &Network<u32>, transport: &Transport) -> bool {
        let (local, remote) = network.ends(Direction::Ingress);
        FLOWS4.get_ptr(&FlowKey4 { head: head(network, transport), local, remote }).is_some()
    }

    #[inline(always)]
    fn v6(network: &Network<[u32; 4]>, transport: &Transport) -> bool {
        let (local, remote) = network.ends(Direction::Ingress);
        FLOWS6.get_ptr(&FlowKey6 { head: head(network, transport), local, remote }).is_some()
    }
}

/// Parses as the pipeline does.
#[inline(always)]
fn parse<D: Deed>(cursor: PacketPointers) -> Option<bool> {
    let link = packet::link(cursor, 0, None).ok()?;
    match link.ethertype {
        ethertype::IPV4 => {
            let network = <u32 as Family>::network(cursor, link.offset, false, None).ok()?;
            Some(D::v4(&network, &packet::transport(cursor, &network).ok()?))
        }
        ethertype::IPV6 => {
            let network = <[u32; 4] as Family>::network(cursor, link.offset, false, None).ok()?;
            Some(D::v6(&network, &packet::transport(cursor, &network).ok()?))
        }
        _ => None,
    }
}

#[inline(always)]
fn xdp<D: Deed>(ctx: &XdpContext) -> u32 {
    // SAFETY: the helper reads the context it is given.
    let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as u32;
    let cursor = PacketPointers { data: ctx.data(), end: ctx.data_end(), len };
    if parse::<D>(cursor) == Some(true) { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
}

#[inline(always)]
fn tc<D: Deed>(ctx: &TcContext) -> i32 {
    let cursor = PacketPointers { data: ctx.data(), end: ctx.data_end(), len: ctx.len() };
    if parse::<D>(cursor) == Some(true) { TC_ACT_UNSPEC } else { TC_ACT_SHOT }
}

#[xdp(frags)]
pub fn parse_xdp(ctx: XdpContext) -> u32 {
    xdp::<Nothing>(&ctx)
}

#[classifier]
pub fn parse_tc(ctx: TcContext) -> i32 {
    tc::<Nothing>(&ctx)
}

#[xdp(frags)]
pub fn lookup_xdp(ctx: XdpContext) -> u32 {
    xdp::<Lookup>(&ctx)
}

#[classifier]
pub fn lookup_tc(ctx: TcContext) -> i32 {
    tc::<Lookup>(&ctx)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
