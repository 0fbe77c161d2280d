//! The flow tables: established TCP; answered UDP, ICMP and others; pending ones (P-16). What a packet does to its
//! flow is decided in `sg_common::track`; here it is looked up, moved and counted.

use crate::{
    config::timeouts,
    hits,
    maps::{self, Insert, ONLY_NEW, Tables},
    pipeline::{Quote, Scene},
    reclaim, untracked,
};
use sg_common::{
    Direction,
    event::note,
    flow::{Flow, IcmpRole, KeyHead, icmp_role},
    packet::{self, Cursor, Fragment},
    policy::{REQUIRE_ICMP_RULES, hint_bit},
    reason::{Drop, Pass},
    track::{self, Clock, Exchange, Handshake},
    wire::{Icmp, protocol, tcp_flag},
};

/// What a packet is to the flow table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// TCP SYN: starts a flow that the rules admit.
    Syn,
    /// Any other TCP segment: needs a flow, or passes alone.
    Segment,
    /// UDP, an ICMP request, another protocol: belongs to a flow or starts one.
    Request,
    /// An ICMP reply: belongs to a flow, or passes alone.
    Reply,
    /// An ICMP error: belongs to the flow that it quotes, or passes alone.
    Error,
    /// ICMP that is neither: passes alone.
    Lone,
}

impl Part {
    /// Whether the flow table can hold an entry for it.
    #[inline(always)]
    pub fn has_entry(self) -> bool {
        !matches!(self, Self::Error | Self::Lone)
    }
}

/// A live entry.
pub struct Entry {
    /// Where it lies in its table.
    pub flow: &'static mut Flow,
    /// In the table of established or answered flows; else in that of pending ones.
    settled: bool,
}

/// Says what the packet is, and makes the key of its flow.
#[inline(always)]
pub fn identify<A: Tables>(scene: &mut Scene<A>) -> Part {
    let ports = (scene.local_port(), scene.remote_port());
    let (local, remote) = (scene.local(), scene.remote());
    let packet = &mut *scene.packet;
    let (part, start, local_port, remote_port) = match packet.network.protocol {
        protocol::TCP => {
            let syn = packet.transport.flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN;
            (if syn { Part::Syn } else { Part::Segment }, 0, ports.0, ports.1)
        }
        number if number == A::ICMP => {
            let (kind, id) = (packet.transport.kind, packet.transport.id);
            match icmp_role(A::ICMP, kind) {
                IcmpRole::Request => (Part::Request, KeyHead::start_of(scene.direction), id, u16::from(kind)),
                IcmpRole::Reply(request) => {
                    (Part::Reply, KeyHead::start_of(scene.direction.opposite()), id, u16::from(request))
                }
                IcmpRole::Error => (Part::Error, 0, 0, 0),
                IcmpRole::Other => (Part::Lone, 0, 0, 0),
            }
        }
        // Ports are zero where the protocol has none.
        _ => (Part::Request, 0, ports.0, ports.1),
    };
    let head = KeyHead {
        slot: scene.config.slot as u16,
        protocol: packet.network.protocol,
        start,
        local_port,
        remote_port,
        vlans: packet.vlans,
    };
    packet.key = A::flow_key(head, local, remote);
    part
}

#[inline(always)]
fn is_tcp<A: Tables>(scene: &Scene<A>) -> bool {
    scene.packet.network.protocol == protocol::TCP
}

/// The live entry of the packet's flow. One that is over is removed on the way.
#[inline(always)]
pub fn find<A: Tables>(scene: &mut Scene<A>, clock: &Clock) -> Option<Entry> {
    scene.packet.notes |= note::SOUGHT;
    let key = &scene.packet.key;
    let settled =
        if is_tcp(scene) { A::established().get_ptr_mut(key) } else { A::answered().get_ptr_mut(key) };
    let entry = match maps::flow_mut(settled) {
        Some(flow) => Entry { flow, settled: true },
        None => Entry { flow: maps::flow_mut(A::pending().get_ptr_mut(key))?, settled: false },
    };
    let note = if entry.settled { note::SETTLED } else { note::PENDING };
    if track::is_live(entry.flow, A::head(key), &timeouts(scene.policy), clock) {
        scene.packet.notes |= note | note::LIVE;
        return Some(entry);
    }
    scene.packet.notes |= note;
    forget(scene, &entry);
    None
}

/// Removes an entry. Should another processor have removed it already, all the better.
#[inline(always)]
pub fn forget<A: Tables>(scene: &Scene<A>, entry: &Entry) {
    let key = &scene.packet.key;
    let _ = match (entry.settled, is_tcp(scene)) {
        (false, _) => A::pending().remove(key),
        (true, true) => A::established().remove(key),
        (true, false) => A::answered().remove(key),
    };
}

#[inline(always)]
fn count<A: Tables>(scene: &Scene<A>, flow: &mut Flow) {
    maps::count_flow(flow, scene.packet.packets, scene.packet.bytes);
}

/// Whether a SYN crosses our own on a half-open flow: its answer, which no rule is asked about (P-4).
#[inline(always)]
pub fn crosses<A: Tables>(scene: &Scene<A>, entry: &mut Entry) -> bool {
    if entry.settled || entry.flow.started == scene.direction as u32 {
        return false;
    }
    track::tcp_crossing_syn(entry.flow, scene.direction, scene.packet.transport.sequence);
    count(scene, entry.flow);
    true
}

/// A packet of a live flow: what it does to it.
#[inline(always)]
pub fn advance<A: Tables>(scene: &mut Scene<A>, entry: &mut Entry, clock: &Clock) -> Result<(), Drop> {
    let (direction, packet, flow) = (scene.direction, &mut *scene.packet, &mut *entry.flow);
    maps::count_flow(flow, packet.packets, packet.bytes);
    if packet.network.protocol == protocol::TCP {
        if entry.settled {
            if track::tcp_established(flow, direction, &packet.transport, clock) {
                packet.notes |= note::CLOSED;
            }
        } else if track::tcp_pending(flow, direction, &packet.transport) == Handshake::Complete {
            track::tcp_complete(&mut packet.flow, flow, direction, &packet.transport, clock);
            if !reclaim::claim::<A>(scene.generation, clock) {
                return Err(Drop::ConntrackFull);
            }
            let packet = &mut *scene.packet;
            if maps::inserted(A::established().insert(&packet.key, &packet.flow, ONLY_NEW)) == Insert::Full {
                return Err(Drop::ConntrackFull);
            }
            let _ = A::pending().remove(&packet.key);
        }
    } else if entry.settled {
        track::exchange(flow, direction, clock);
    } else if track::pending(flow, direction, clock) == Exchange::Answered {
        track::answered(&mut packet.flow, flow, clock);
        // The table is least recently used and takes every entry; where it cannot, the flow stays pending.
        if maps::inserted(A::answered().insert(&packet.key, &packet.flow, ONLY_NEW)) == Insert::Present {
            let _ = A::pending().remove(&packet.key);
        }
    }
    Ok(())
}

/// A SYN that the rules admit: passes on a live open flow without changing it, else starts one (P-4). `untracked` says
/// that a flow which starts so is open to the world: it makes no entry, also where it takes the place of one (P-2).
#[inline(always)]
pub fn admitted_syn<A: Tables>(
    scene: &mut Scene<A>,
    entry: Option<Entry>,
    untracked: bool,
    clock: &Clock,
) -> Result<Pass, Drop> {
    if let Some(entry) = entry {
        if !entry.settled {
            track::tcp_retransmitted_syn(entry.flow, scene.direction, scene.packet.transport.sequence, clock);
            count(scene, entry.flow);
            return Ok(Pass::Tracked);
        }
        if track::is_open(entry.flow) {
            count(scene, entry.flow);
            return Ok(Pass::Tracked);
        }
        forget(scene, &entry);
    }
    if untracked {
        hits::count(scene, true);
        return Ok(Pass::Untracked);
    }
    create(scene, clock)
}

/// Starts a flow that the rules admit.
#[inline(always)]
pub fn create<A: Tables>(scene: &mut Scene<A>, clock: &Clock) -> Result<Pass, Drop> {
    if is_tcp(scene) && reclaim::is_full::<A>(clock) {
        return Err(Drop::ConntrackFull);
    }
    let packet = &mut *scene.packet;
    track::start(&mut packet.flow, scene.direction, packet.transport.sequence, clock);
    packet.flow.packets = packet.packets;
    packet.flow.bytes = packet.bytes;
    if maps::inserted(A::pending().insert(&packet.key, &packet.flow, 0)) == Insert::Full {
        return Err(Drop::ConntrackFull);
    }
    let is_udp = packet.network.protocol == protocol::UDP;
    if is_udp || packet.network.protocol == protocol::TCP {
        let (remote, port) = match scene.direction {
            Direction::Ingress => (true, scene.remote_port()),
            Direction::Egress => (false, scene.local_port()),
        };
        maps::set_hint(hint_bit(scene.config.slot, is_udp, remote, port));
    }
    hits::count(scene, false);
    Ok(Pass::New)
}

/// Reads the packet that an ICMP error quotes: the first eight bytes of its transport header name its flow (P-8).
#[inline(always)]
pub fn read_quote<A: Tables, C: Cursor>(scene: &mut Scene<A>, cursor: C) {
    let packet = &mut *scene.packet;
    packet.quote.present = false;
    if packet.network.protocol != A::ICMP
        || packet.network.fragment == Fragment::Later
        || icmp_role(A::ICMP, packet.transport.kind) != IcmpRole::Error
    {
        return;
    }
    let quote_at = cursor.settle(packet.network.transport + size_of::<Icmp>());
    let Ok(quote) = A::network(cursor, quote_at, false, Some(packet.network.end)) else { return };
    let Some(transport) = packet::quoted_transport(cursor, &quote) else { return };
    // The error comes to the one who sent what it quotes.
    if quote.source != packet.network.destination {
        return;
    }
    let (local, remote) = match scene.direction {
        Direction::Ingress => (quote.source, quote.destination),
        Direction::Egress => (quote.destination, quote.source),
    };
    packet.quote = Quote { present: true, protocol: quote.protocol, local, remote, transport };
}

/// Whether an ICMP error is about a flow that is let through: one with a live entry, or one that P-2 covers (P-8).
#[inline(always)]
pub fn is_related<A: Tables>(scene: &mut Scene<A>, clock: &Clock) -> bool {
    if scene.policy.flags & REQUIRE_ICMP_RULES != 0 || !scene.packet.quote.present {
        return false;
    }
    let (quote, transport) = (&scene.packet.quote, &scene.packet.quote.transport);
    // The quoted packet went the other way.
    let quoted = scene.direction.opposite();
    let (local_port, remote_port) = match quoted {
        Direction::Egress => (transport.source_port, transport.destination_port),
        Direction::Ingress => (transport.destination_port, transport.source_port),
    };
    if untracked::open::<A>(scene.policy, quote.protocol, (local_port, remote_port)).any() {
        return true;
    }
    let (start, local_port, remote_port) = if quote.protocol == A::ICMP {
        match icmp_role(A::ICMP, transport.kind) {
            IcmpRole::Request => (KeyHead::start_of(quoted), transport.id, u16::from(transport.kind)),
            IcmpRole::Reply(request) => {
                (KeyHead::start_of(scene.direction), transport.id, u16::from(request))
            }
            IcmpRole::Error | IcmpRole::Other => return false,
        }
    } else {
        (0, local_port, remote_port)
    };
    let protocol = quote.protocol;
    // An error comes through the VLAN of the flow that it is about.
    let vlans = scene.packet.vlans;
    let head = KeyHead { slot: scene.config.slot as u16, protocol, start, local_port, remote_port, vlans };
    scene.packet.key = A::flow_key(head, quote.local, quote.remote);
    let key = &scene.packet.key;
    let settled = if protocol == protocol::TCP {
        A::established().get_ptr_mut(key)
    } else {
        A::answered().get_ptr_mut(key)
    };
    let flow = maps::flow_mut(settled).or_else(|| maps::flow_mut(A::pending().get_ptr_mut(key)));
    flow.is_some_and(|flow| track::is_live(flow, A::head(key), &timeouts(scene.policy), clock))
}
