//! Tells of single packets to those who listen ([`sg_common::event`]): nobody, as a rule, and then a packet pays for
//! one look at a word that is always in the cache.
//!
//! Whoever listens may stop without a word, because it was killed. So each says by when it will have said again that it
//! still listens, and when the last of them is overdue, the programs themselves take the word back.

use crate::{
    config::Config,
    maps::{self, Tables},
};
use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    btf_maps::{ArrayOfMaps, RingBuf},
    helpers::bpf_ktime_get_ns,
    macros::{btf_map, map},
    maps::{Array, PerCpuArray},
};
use sg_common::{
    Direction,
    event::{Budget, Event, Listener, NO_PROTOCOL, PLACES, note, seen, what},
    packet::Fragment,
    reason::{Pass, Verdict},
    wire::{protocol, tcp_flag},
};

/// Not 0 while somebody listens.
#[map]
static LISTENING: Array<u64> = Array::with_max_entries(1, 0);
/// Who takes which place.
#[map]
static LISTENERS: Array<Listener> = Array::with_max_entries(PLACES, 0);
/// What each of them may still get from this processor.
#[map]
static BUDGETS: PerCpuArray<Budget> = PerCpuArray::with_max_entries(PLACES, 0);
/// Each one's own ring buffer, of whatever size; the kernel wants to be told one page here.
#[btf_map]
static RINGS: ArrayOfMaps<RingBuf<u64, 4096>, { PLACES as usize }> = ArrayOfMaps::new();
/// The event at hand.
#[map]
static EVENT: PerCpuArray<Event> = PerCpuArray::with_max_entries(1, 0);

/// Whether anybody listens.
#[inline(always)]
pub fn is_heard() -> bool {
    LISTENING.get(0).is_some_and(|word| *word != 0)
}

/// Tells of a packet whose verdict has been reached. `seen` says where what is known of it lies: [`seen`].
#[inline(always)]
pub fn tell(config: Config, direction: Direction, verdict: Verdict, seen: u32, segments: u32, bytes: u64) {
    // Written down at once, as numbers of which the verifier knows nothing when they are read: else it would follow the
    // rest once for each verdict.
    if let Some(event) = event() {
        event.slot = config.slot as u16;
        event.direction = direction as u8;
        event.verdict = verdict.number() as u8;
        event.ethertype = (seen >> 16) as u16;
        event.family = seen as u8;
        event.segments = segments;
        event.bytes = bytes;
    }
    sg_draft();
    sg_spread();
}

// What follows are functions of their own to the verifier, which looks at each once and not for every path that leads to
// it, and they have frames of their own beside that of the program, one at a time.

/// Completes the event.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sg_draft() -> u32 {
    let Some(event) = event() else { return 0 };
    // SAFETY: a helper without arguments or effects.
    event.time = unsafe { bpf_ktime_get_ns() };
    let is_ingress = event.direction == Direction::Ingress as u8;
    let direction = if is_ingress { Direction::Ingress } else { Direction::Egress };
    match u32::from(event.family) {
        seen::IPV4 => describe::<u32>(event, direction),
        seen::IPV6 => describe::<[u32; 4]>(event, direction),
        _ => leave_blank(event),
    }
    event.what = what(event);
    0
}

/// Offers the event to all places. Where nobody holds one any more, nobody listens.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sg_spread() -> u32 {
    let listening = sg_offer(0)
        | sg_offer(1)
        | sg_offer(2)
        | sg_offer(3)
        | sg_offer(4)
        | sg_offer(5)
        | sg_offer(6)
        | sg_offer(7);
    if listening == 0
        && let Some(word) = LISTENING.get_ptr_mut(0)
    {
        // Should somebody begin to listen in this instant, it will see to the word soon.
        // SAFETY: an aligned element of an array, which is never freed.
        unsafe { *word = 0 };
    }
    0
}

/// Offers the event to who holds the place. Returns 1 where somebody does.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sg_offer(place: u32) -> u32 {
    let (Some(listener), Some(event)) = (LISTENERS.get(place), event()) else { return 0 };
    let clock = Config::load().clock();
    if !listener.is_live(clock.now, clock.hz) {
        return 0;
    }
    if !listener.wants(event) {
        return 1;
    }
    let Some(budget) = BUDGETS.get_ptr_mut(place) else { return 1 };
    // SAFETY: this processor's own element.
    let budget = unsafe { &mut *budget };
    if !budget.take(listener, clock.now) {
        return 1;
    }
    let told = RINGS.get(place).is_some_and(|ring| {
        // Who listens looks into its ring many times a second: to be woken for each event costs more than the event.
        ring.output_untyped(&*event, u64::from(BPF_RB_NO_WAKEUP)).is_ok()
    });
    if !told {
        budget.lost += 1;
    }
    1
}

#[inline(always)]
fn event() -> Option<&'static mut Event> {
    // SAFETY: this processor's own element, which no other program uses at the same time: see `Tables::scratch`.
    EVENT.get_ptr_mut(0).map(|event| unsafe { &mut *event })
}

/// What the stages know of the packet.
#[inline(always)]
fn describe<A: Tables>(event: &mut Event, direction: Direction) {
    let Some(packet) = A::scratch() else { return leave_blank(event) };
    let (local, remote) = packet.network.ends(direction);
    let (local_port, remote_port) = packet.transport.ports(direction);
    event.local = local.words();
    event.remote = remote.words();
    event.local_port = local_port;
    event.remote_port = remote_port;
    event.protocol = u16::from(packet.network.protocol);
    event.fragment = match packet.network.fragment {
        Fragment::Whole => 0,
        Fragment::First => 1,
        Fragment::Later => 2,
    };
    event.tcp_flags = packet.transport.flags;
    event.icmp_type = packet.transport.kind;
    event.icmp_code = packet.transport.code;
    event.icmp_id = packet.transport.id;
    event.vlans = packet.vlans.bits();
    event.notes = packet.notes;
    (event.flow_packets, event.flow_bytes) = (0, 0);
    if packet.notes & note::CLOSED != 0
        && let Some(flow) = maps::flow_mut(A::established().get_ptr_mut(&packet.key))
    {
        (event.flow_packets, event.flow_bytes) = (flow.packets, flow.bytes);
    }
}

/// Nothing is known of the packet: what an earlier one left behind goes.
#[inline(always)]
fn leave_blank(event: &mut Event) {
    event.local = [0; 4];
    event.remote = [0; 4];
    event.local_port = 0;
    event.remote_port = 0;
    event.protocol = NO_PROTOCOL;
    event.fragment = 0;
    event.tcp_flags = 0;
    event.icmp_type = 0;
    event.icmp_code = 0;
    event.icmp_id = 0;
    event.vlans = 0;
    event.notes = 0;
    event.flow_packets = 0;
    event.flow_bytes = 0;
}

/// What listeners choose by.
#[inline(always)]
fn what(event: &Event) -> u32 {
    let verdict = u32::from(event.verdict);
    if Event::is_drop(verdict) {
        return what::DROPPED;
    }
    let is_syn = event.protocol == u16::from(protocol::TCP)
        && event.tcp_flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN;
    let mut what = what::ALLOWED;
    if verdict == Pass::New as u32 || (verdict == Pass::Untracked as u32 && is_syn) {
        what |= what::NEW;
    }
    if event.notes & note::CLOSED != 0 {
        what |= what::CLOSED;
    }
    what
}

const _: () = assert!(PLACES == 8);
