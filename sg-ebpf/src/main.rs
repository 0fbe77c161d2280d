//! The programs: two adapters, XDP and TC, over one pipeline.
//!
//! Every interface has an instance of its own, loaded with constants that say which it is ([`config`]). A packet that
//! passes goes on to whatever else sits on the hook: ours never passes what another drops, nor the reverse.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "atomic additions: core::sync::atomic has none for this target")]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the entry points that the macros make are called by the kernel"
)]
#![expect(missing_docs, reason = "the programs' names are their interface")]

mod adopt;
mod config;
mod cursor;
mod events;
mod exempt;
mod flows;
mod fragments;
mod hits;
mod index;
mod maps;
mod observe;
mod pipeline;
mod reclaim;
mod rules;
mod source;
mod sweep;
mod untracked;

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::{bpf_jiffies64, bpf_ktime_get_ns, generated::bpf_xdp_get_buff_len},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use config::Config;
use cursor::PacketPointers;
use pipeline::{Frame, judge};
use sg_common::{
    Direction,
    event::seen,
    packet::Cursor,
    policy::{CLOCK_JIFFIES, CLOCK_MONOTONIC, counter_index},
    reason::Verdict,
    sweep::SWEEP_UNREAD,
    vlan::Vlans,
};

/// What the device received, judged before an skb exists.
#[xdp(frags)]
#[inline(always)]
pub fn sg_xdp(ctx: XdpContext) -> u32 {
    // SAFETY: the helper reads the context it is given.
    let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as u32;
    let config = Config::load();
    let cursor = PacketPointers { data: ctx.data(), end: ctx.data_end(), len };
    let direction = Direction::Ingress;
    let frame =
        Frame { cursor, direction, ethertype: 0, tags: 0, vlans: Vlans::NONE, segments: 1, gso: false };
    if verdict(config, Hook::Receive, frame).passes() { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
}

/// What the device received, judged at TC ingress.
#[classifier]
#[inline(always)]
pub fn sg_tc_receive(ctx: TcContext) -> i32 {
    tc(&ctx, Hook::Receive)
}

/// What the device is about to send, judged at TC egress.
#[classifier]
#[inline(always)]
pub fn sg_tc_send(ctx: TcContext) -> i32 {
    tc(&ctx, Hook::Send)
}

/// Which of a device's two ways.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hook {
    Receive,
    Send,
}

/// Headers are read from the linear part of an skb; this much is made linear where it is not.
const LINEAR: u32 = 256;

#[inline(always)]
fn tc(ctx: &TcContext, hook: Hook) -> i32 {
    let len = ctx.len();
    let linear = ctx.data_end() - ctx.data();
    if linear < LINEAR as usize && linear < len as usize {
        // Where memory is short the headers stay out of reach, and the packet is dropped as malformed.
        let _ = ctx.pull_data(if len < LINEAR { len } else { LINEAR });
    }
    // Pointers from before the call must not be used after it. The length is read anew as well, or the verifier would
    // carry what it learnt from the comparisons through the whole pipeline, twice.
    cursor::forget_registers();
    let cursor = PacketPointers { data: ctx.data(), end: ctx.data_end(), len: ctx.len() };
    // SAFETY: the program's own context, which lives as long as the program runs.
    let skb = unsafe { &*ctx.as_ptr().cast::<__sk_buff>() };
    let config = Config::load();
    let ethertype = u16::from_be(skb.protocol as u16);
    let gso = skb.gso_size != 0;
    // A guest's super-packet comes without its number of segments (virtio_net_hdr_to_skb).
    let segments = match (gso, skb.gso_segs) {
        (false, _) => 1,
        (true, 0) => skb.len.div_ceil(skb.gso_size),
        (true, segments) => segments,
    };
    let segments = (cursor.settle(segments as usize) as u32).max(1);
    // A tag that the device took off a received frame, or is to put into a sent one.
    let tags = skb.vlan_present & 1;
    let vlans =
        if config.vlan_aware && tags != 0 { Vlans::NONE.tagged(skb.vlan_tci as u16) } else { Vlans::NONE };
    let frame = Frame { cursor, direction: Direction::Ingress, ethertype, tags, vlans, segments, gso };
    if verdict(config, hook, frame).passes() { TC_ACT_UNSPEC } else { TC_ACT_SHOT }
}

/// Judges with a pipeline of the side's own: what the device received is the instance's inbound, but on the host's end of
/// a guest's link it is the guest's outbound (P-15). The compiler makes two copies, in which side and direction are known,
/// and the verifier removes the one that is not this instance's.
#[inline(always)]
fn verdict(config: Config, hook: Hook, frame: Frame<PacketPointers>) -> Verdict {
    let (inward, outward) = (Direction::Ingress, Direction::Egress);
    let (host, guest) = if hook == Hook::Receive { (inward, outward) } else { (outward, inward) };
    if config.guest {
        counted(Config { guest: true, ..config }, &Frame { direction: guest, ..frame })
    } else {
        counted(Config { guest: false, ..config }, &Frame { direction: host, ..frame })
    }
}

/// The one place where a verdict is reached, and so the one place where it is counted and told of.
#[inline(always)]
fn counted(config: Config, frame: &Frame<PacketPointers>) -> Verdict {
    let judgement = judge(config, frame);
    let verdict = match judgement.verdict {
        Ok(why) => Verdict::Pass(why),
        Err(why) => Verdict::Drop(why),
    };
    let index = counter_index(config.slot, frame.direction, verdict.number());
    maps::count(index, u64::from(frame.segments), judgement.bytes);
    if judgement.seen != seen::AT_SIGHT && events::is_heard() {
        let Frame { direction, segments, .. } = *frame;
        events::tell(config, direction, verdict, judgement.seen, segments, judgement.bytes);
    }
    verdict
}

/// Takes up a connection that was open before its interface was attached.
#[xdp]
pub fn sg_adopt(ctx: XdpContext) -> u32 {
    let given = PacketPointers { data: ctx.data(), end: ctx.data_end(), len: 0 };
    adopt::take_up(given).map_or(0, |answer| answer as u32)
}

/// Removes the entries of flows that are over, of those that it is given.
#[xdp]
pub fn sg_sweep(ctx: XdpContext) -> u32 {
    let given = PacketPointers { data: ctx.data(), end: ctx.data_end(), len: 0 };
    sweep::sweep(given).unwrap_or(SWEEP_UNREAD)
}

/// Tells userspace what jiffies are, which the kernel shows it nowhere.
#[xdp]
pub fn sg_clock(_ctx: XdpContext) -> u32 {
    // SAFETY: helpers without arguments or effects.
    let (jiffies, monotonic) = unsafe { (bpf_jiffies64(), bpf_ktime_get_ns()) };
    maps::set_clock(CLOCK_JIFFIES, jiffies);
    maps::set_clock(CLOCK_MONOTONIC, monotonic);
    xdp_action::XDP_PASS
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
