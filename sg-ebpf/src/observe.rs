//! Observing before enforcing (P-22): for a few seconds after a guest's interface was attached everything passes, and the
//! TCP connections that are in use are taken up as tracked. What a guest has open no table of this host tells; its
//! packets do.
//!
//! One side alone proves nothing, since anybody can send segments in another's name. A connection is taken up when one side
//! acknowledges what the other was seen to send. Until then it has an entry among the pending ones, by which nothing
//! passes once the interface enforces.

use crate::{
    config::Config,
    flows::{self, Part},
    maps::{self, Insert, ONLY_NEW, Tables},
    pipeline::Scene,
    reclaim,
};
use sg_common::{
    Direction,
    flow::{Flow, state},
    packet::Fragment,
    policy::{OBSERVES, Policy, hint_bit},
    track::{self, Clock},
    wire::{protocol, tcp_flag},
};

/// Whether the interface only observes now. The clock is read for those alone whose row says so.
#[inline(always)]
pub fn is_on(config: Config, policy: &Policy) -> bool {
    policy.flags & OBSERVES != 0 && policy.observes(&config.clock())
}

/// The same, for a packet that is about to be dropped, whose stages are done with its policy.
#[inline(always)]
pub fn spares(config: Config) -> bool {
    maps::policy(maps::live_word(), config.slot).is_some_and(|policy| is_on(config, policy))
}

/// Looks at a packet, which passes whatever it is.
#[inline(always)]
pub fn see<A: Tables>(scene: &mut Scene<A>) {
    if scene.packet.network.fragment == Fragment::Later || scene.packet.network.protocol != protocol::TCP {
        return;
    }
    if flows::identify(scene) != Part::Segment || scene.packet.transport.flags & tcp_flag::SYN != 0 {
        return;
    }
    let clock = scene.config.clock();
    let packet = &mut *scene.packet;
    if let Some(flow) = maps::flow_mut(A::established().get_ptr_mut(&packet.key)) {
        maps::count_flow(flow, packet.packets, packet.bytes);
        track::tcp_established(flow, scene.direction, &packet.transport, &clock);
    } else if packet.transport.flags & (tcp_flag::ACK | tcp_flag::RST) == tcp_flag::ACK {
        acknowledge(scene, &clock);
    }
}

/// A segment with ACK of a flow that was not taken up yet.
#[inline(always)]
fn acknowledge<A: Tables>(scene: &mut Scene<A>, clock: &Clock) {
    let start = track::likely_start(scene.local_port(), scene.remote_port());
    if scene.packet.open.covers(start) {
        return;
    }
    let packet = &mut *scene.packet;
    let known = maps::flow_mut(A::pending().get_ptr_mut(&packet.key));
    let Some(flow) = known.filter(|flow| flow.state == state::OBSERVED) else {
        track::adopt(&mut packet.flow, start as u32, 0, clock);
        packet.flow.state = state::OBSERVED;
        packet.flow.packets = packet.packets;
        packet.flow.bytes = packet.bytes;
        // With nothing known of the other side it is no answer yet.
        let _ = track::observe(&mut packet.flow, scene.direction, &packet.transport, clock);
        // Where the table cannot take it, the next segment tries again.
        let _ = A::pending().insert(&packet.key, &packet.flow, 0);
        return;
    };
    maps::count_flow(flow, packet.packets, packet.bytes);
    if track::observe(flow, scene.direction, &packet.transport, clock) {
        take_up(scene, flow, start, clock);
    }
}

/// Both sides have spoken. Where the table is full of live flows, it stays as it is.
#[inline(always)]
fn take_up<A: Tables>(scene: &mut Scene<A>, seen: &Flow, start: Direction, clock: &Clock) {
    let packet = &mut *scene.packet;
    packet.flow = *seen;
    packet.flow.state = state::ESTABLISHED;
    if !reclaim::claim::<A>(scene.generation, clock) {
        return;
    }
    let packet = &mut *scene.packet;
    if maps::inserted(A::established().insert(&packet.key, &packet.flow, ONLY_NEW)) == Insert::Full {
        return;
    }
    let _ = A::pending().remove(&packet.key);
    let (remote, port) = match start {
        Direction::Ingress => (true, scene.remote_port()),
        Direction::Egress => (false, scene.local_port()),
    };
    maps::set_hint(hint_bit(scene.config.slot, false, remote, port));
}
