//! Tells of single packets to those who listen ([`sg_common::event`]): nobody, as a rule, and then a packet pays for
//! one look at a word that is always in the cache.
//!
//! Whoever listens may stop without a word, because it was killed. So each says by when it will have said again that it
//! still listens, and when the last of them is overdue, the programs themselves take the word back.

use crate::{
    config::Config,
    maps::{self, Tables},
    untracked::Open,
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

/// A bit for each place that somebody holds: 0 while nobody listens.
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
    // One after the other, each with the whole of what the program leaves of the stack; a branch between them would be one
    // more for the verifier to follow on every path.
    sg_sound_out();
    sg_tell();
}

// What follows are functions of their own to the verifier, which looks at each once and not for every path that leads to
// it, and they have frames of their own beside that of the program. There are no more of them than that takes: to return from
// one costs as much as all the rest that a listener who has heard enough costs a packet.

/// Does this for every place; written out, since a loop may end in a way that the control-flow check of kernel 6.1 refuses.
macro_rules! each_place {
    ($do:ident) => {
        $do!(0);
        $do!(1);
        $do!(2);
        $do!(3);
        $do!(4);
        $do!(5);
        $do!(6);
        $do!(7);
    };
}

/// Finds out whether anybody may want to hear of the event. Where somebody who held a place is gone, its bit goes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sg_sound_out() -> u32 {
    let (Some(event), Some(word)) = (event(), LISTENING.get_ptr_mut(0)) else { return 0 };
    let clock = Config::load().clock();
    let is_drop = Event::is_drop(event.verdict.into());
    event.what = if is_drop { what::DROPPED } else { what::ALLOWED | what::NEW | what::CLOSED };
    (event.time, event.hearers, event.askers) = (0, 0, 0);
    // SAFETY: an aligned element of an array, which is never freed.
    let taken = unsafe { *word };
    // In a flood most are told enough already: that is found out first, and as far as that goes without the headers.
    macro_rules! sound_out {
        ($place:literal) => {
            if taken & 1 << $place != 0
                && let (Some(listener), Some(budget)) = (LISTENERS.get($place), budget($place))
            {
                if !listener.is_live(clock.now, clock.hz) {
                    // Should somebody take a place in this instant, it will see to its bit soon.
                    // SAFETY: as above.
                    unsafe { *word &= !(1 << $place) };
                } else if listener.may_want(event) {
                    // Who it is stands in memory, where the verifier does not follow it.
                    if !is_drop || listener.reads_headers() {
                        event.askers |= 1 << $place;
                    } else if budget.take(listener, clock.now) {
                        event.hearers |= 1 << $place;
                    }
                }
            }
        };
    }
    each_place!(sound_out);
    0
}

/// Completes the event, and tells those who want to hear of it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sg_tell() -> u32 {
    let Some(event) = event().filter(|event| event.hearers | event.askers != 0) else { return 0 };
    let is_ingress = event.direction == Direction::Ingress as u8;
    let direction = if is_ingress { Direction::Ingress } else { Direction::Egress };
    match u32::from(event.family) {
        seen::IPV4 => describe::<u32>(event, direction),
        seen::IPV6 => describe::<[u32; 4]>(event, direction),
        _ => leave_blank(event),
    }
    event.what = what(event);
    macro_rules! tell {
        ($place:literal) => {
            if (event.hearers | event.askers) & 1 << $place != 0 {
                sg_offer($place);
            }
        };
    }
    each_place!(tell);
    0
}

/// Tells who holds the place: one who hears of it, or asks what it is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sg_offer(place: u32) -> u32 {
    let (Some(listener), Some(event), Some(budget)) = (LISTENERS.get(place), event(), budget(place)) else {
        return 0;
    };
    let asks = event.askers >> (place & 31) & 1 != 0;
    if asks && !(listener.wants(event) && budget.take(listener, Config::load().clock().now)) {
        return 0;
    }
    // The first whom it is told reads the clock for all.
    if event.time == 0 {
        // SAFETY: a helper without arguments or effects.
        event.time = unsafe { bpf_ktime_get_ns() };
    }
    let told = RINGS.get(place).is_some_and(|ring| {
        // Who listens looks into its ring many times a second: to be woken for each event costs more than the event.
        ring.output_untyped(&*event, u64::from(BPF_RB_NO_WAKEUP)).is_ok()
    });
    if !told {
        budget.lost += 1;
    }
    0
}

#[inline(always)]
fn budget(place: u32) -> Option<&'static mut Budget> {
    // SAFETY: this processor's own element.
    BUDGETS.get_ptr_mut(place).map(|budget| unsafe { &mut *budget })
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
    event.notes = packet.notes | open_notes(packet.open);
    if packet.network.protocol == A::ICMP && packet.quote.present {
        event.notes |= note::QUOTES;
    }
    event.class = packet.class;
    (event.flow_packets, event.flow_bytes) = (0, 0);
    if packet.notes & note::CLOSED != 0
        && let Some(flow) = maps::flow_mut(A::established().get_ptr_mut(&packet.key))
    {
        (event.flow_packets, event.flow_bytes) = (flow.packets, flow.bytes);
    }
}

#[inline(always)]
fn open_notes(open: Open) -> u32 {
    let note = |start, note| if open.covers(start) { note } else { 0 };
    note(Direction::Ingress, note::OPEN_INWARD) | note(Direction::Egress, note::OPEN_OUTWARD)
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
    event.class = 0;
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
