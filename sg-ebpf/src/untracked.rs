//! Flows that are open to the world both ways and leave no entry (P-2), and what becomes of them when they cease to
//! be (P-3).

use crate::{
    config::Config,
    flows::{self, Entry, Part},
    hits,
    maps::{self, Tables},
    pipeline::Scene,
    rules, source,
};
use sg_common::{
    Direction,
    event::note,
    mark,
    packet::{Fragment, Network, Transport},
    policy::{OBSERVES, Policy, hint_bit},
    track::Clock,
    wire::{protocol, tcp_flag},
};

/// Which of the two cases of P-2 the packet's ports fall under.
#[derive(Clone, Copy)]
pub struct Open {
    /// (a) Flows *started inward* to this local port are untracked.
    inward: bool,
    /// (b) Flows *started outward* to this remote port are untracked.
    outward: bool,
}

impl Open {
    /// Whether the packet can belong to an untracked flow at all.
    #[inline(always)]
    pub fn any(self) -> bool {
        self.inward || self.outward
    }

    /// Whether a flow that starts in this direction is untracked.
    #[inline(always)]
    pub fn covers(self, start: Direction) -> bool {
        match start {
            Direction::Ingress => self.inward,
            Direction::Egress => self.outward,
        }
    }
}

/// Whether the packet is TCP that passes untracked, by what its headers and the policy's row say alone: the stages would
/// come to the same verdict, but the most frequent packets of a server that is open to the world need not go through
/// them. False says nothing.
#[inline(always)]
pub fn passes_at_sight<A: Tables>(
    config: Config,
    policy: &Policy,
    direction: Direction,
    network: &Network<A>,
    segment: &Transport,
    open: Open,
) -> bool {
    if network.protocol != protocol::TCP
        || network.fragment != Fragment::Whole
        || policy.flags & OBSERVES != 0
        || !source::is_honest_at_sight(config, policy, direction, network)
    {
        return false;
    }
    let (local_port, remote_port) = segment.ports(direction);
    let is_syn = segment.flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN;
    let passes = if is_syn { open.covers(direction) } else { open.any() };
    if !passes || may_own(config.slot, false, open, local_port, remote_port) {
        return false;
    }
    if is_syn {
        let (remote, point) = match direction {
            Direction::Ingress => (network.source, local_port),
            Direction::Egress => (network.destination, remote_port),
        };
        hits::tell::<A>(config, direction, protocol::TCP, point, remote, true);
    }
    true
}

/// Asks the precomputed port sets: neither a hash nor a trie.
#[inline(always)]
pub fn open<A: Tables>(policy: &Policy, protocol: u8, (local_port, remote_port): (u16, u16)) -> Open {
    let (inward, outward) = (&policy.open_in[A::INDEX], &policy.open_out[A::INDEX]);
    let (inward, outward) = match protocol {
        protocol::TCP => (inward[0], outward[0]),
        protocol::UDP => (inward[1], outward[1]),
        _ => return Open { inward: false, outward: false },
    };
    Open { inward: rules::holds(inward, local_port), outward: rules::holds(outward, remote_port) }
}

/// Whether a tracked flow may own the tuple: one that started where P-2 does not cover it. The hint bits spare the
/// look into the flow table for every port that no such flow has ever had.
#[inline(always)]
pub fn may_be_owned<A: Tables>(scene: &Scene<A>, open: Open) -> bool {
    let udp = scene.packet.network.protocol == protocol::UDP;
    may_own(scene.config.slot, udp, open, scene.local_port(), scene.remote_port())
}

#[inline(always)]
fn may_own(slot: u32, udp: bool, open: Open, local_port: u16, remote_port: u16) -> bool {
    (!open.outward && maps::hint(hint_bit(slot, udp, false, local_port)))
        || (!open.inward && maps::hint(hint_bit(slot, udp, true, remote_port)))
}

/// The entry, if its flow started where P-2 does not cover it. One that P-2 covers is void (P-3a) and goes; of UDP
/// the mark of an untracked flow stays in its place.
#[inline(always)]
pub fn owner<A: Tables>(
    scene: &mut Scene<A>,
    open: Open,
    entry: Option<Entry>,
    clock: &Clock,
) -> Option<Entry> {
    let entry = entry?;
    let inward = entry.flow.started == Direction::Ingress as u32;
    let start = if inward { Direction::Ingress } else { Direction::Egress };
    if !open.covers(start) {
        return Some(entry);
    }
    if scene.packet.network.protocol == protocol::UDP {
        set_mark(scene, start, clock);
    }
    scene.packet.notes |= note::VOID;
    flows::forget(scene, &entry);
    None
}

/// Whether a packet with an open port passes untracked. Untracked UDP leaves a mark, not an entry.
#[inline(always)]
pub fn passes<A: Tables>(scene: &Scene<A>, open: Open, part: Part, clock: &Clock) -> bool {
    let (here, there) = (scene.direction, scene.direction.opposite());
    match part {
        Part::Segment => true,
        Part::Syn if open.covers(here) => {
            hits::count(scene, true);
            true
        }
        Part::Syn => false,
        // An answer to a flow that the other side started: its mark says so.
        _ if open.covers(there) && refresh_mark(scene, there, clock) => true,
        _ if open.covers(here) => {
            set_mark(scene, here, clock);
            hits::count(scene, true);
            true
        }
        _ => false,
    }
}

/// Whether the packet is an answer to a flow that the other side started and that was let through untracked. While
/// the answers go on, so does the mark.
#[inline(always)]
pub fn answers_marked<A: Tables>(scene: &Scene<A>, clock: &Clock) -> bool {
    scene.packet.network.protocol == protocol::UDP && refresh_mark(scene, scene.direction.opposite(), clock)
}

/// Where the packet's tuple is marked, and the period that it is now.
#[inline(always)]
fn place<A: Tables>(scene: &Scene<A>, clock: &Clock) -> (mark::Place, u64) {
    let packet = &scene.packet;
    let addresses = A::hash(scene.local(), scene.remote());
    let (slot, vlans) = (scene.config.slot, packet.vlans);
    let place = mark::tuple_place(addresses, slot, vlans, scene.local_port(), scene.remote_port());
    (place, mark::period(clock.now, clock.hz))
}

/// Marks the tuple as a flow that started in this direction.
#[inline(always)]
fn set_mark<A: Tables>(scene: &Scene<A>, start: Direction, clock: &Clock) {
    let (place, period) = place(scene, clock);
    if let Some(block) = maps::mark_block(mark::block_index(start, &place)) {
        block.set(&place, period);
    }
}

/// Whether the tuple is marked as a flow that started in this direction; if so, it stays so.
#[inline(always)]
fn refresh_mark<A: Tables>(scene: &Scene<A>, start: Direction, clock: &Clock) -> bool {
    let (place, period) = place(scene, clock);
    let Some(block) = maps::mark_block(mark::block_index(start, &place)) else { return false };
    let marked = block.holds(&place, period);
    if marked {
        block.set(&place, period);
    }
    marked
}
