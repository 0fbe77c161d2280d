//! Fragments after the first have no ports: they follow the verdict of the first (P-11).

use crate::{maps::Tables, pipeline::Scene};
use sg_common::{
    flow::FragmentHead,
    limits::FRAGMENT_SECONDS,
    reason::{Drop, Pass},
    track::Clock,
};

#[inline(always)]
fn key<A: Tables>(scene: &Scene<A>) -> A::FragmentKey {
    let head = FragmentHead {
        slot: scene.config.slot as u16,
        direction: scene.direction as u8,
        protocol: scene.packet.network.fragment_protocol,
        id: scene.packet.network.fragment_id,
        vlans: scene.packet.vlans,
    };
    A::fragment_key(head, scene.packet.network.source, scene.packet.network.destination)
}

/// The first fragment passed: the others may follow.
#[inline(always)]
pub fn remember<A: Tables>(scene: &Scene<A>, clock: &Clock) {
    // The table is least recently used: it takes every entry, and one that is lost costs its datagram only.
    let _ = A::fragments().insert(&key(scene), &clock.now, 0);
}

/// A later fragment: passes where its first did, not too long ago.
#[inline(always)]
pub fn follow<A: Tables>(scene: &Scene<A>, clock: &Clock) -> Result<Pass, Drop> {
    // SAFETY: a slot re-used under the reference holds the time of another datagram that passed.
    let first = unsafe { A::fragments().get(&key(scene)) }.copied().ok_or(Drop::Fragment)?;
    if clock.age(first) <= u64::from(FRAGMENT_SECONDS) * clock.hz {
        Ok(Pass::Fragment)
    } else {
        Err(Drop::Fragment)
    }
}
