//! Counts the new flows that rules admit ([`sg_common::hit`]). Packets of flows that are open already do not come here.

use crate::{config::Config, maps::Tables, pipeline::Scene};
use aya_ebpf::{macros::map, maps::LruHashMap};
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use sg_common::{
    Direction,
    hit::{Head, Hit, HitKey},
    limits::MAX_HITS,
};

#[map]
static HITS: LruHashMap<HitKey, Hit> = LruHashMap::with_max_entries(MAX_HITS, 0);

/// A new flow of this packet's, tracked from now on or (`is_open`) open to the world.
#[inline(always)]
pub fn count<A: Tables>(scene: &Scene<A>, is_open: bool) {
    let point = crate::rules::point(scene);
    tell::<A>(scene.config, scene.direction, scene.packet.network.protocol, point, scene.remote(), is_open);
}

/// The same, of a packet that is not in scratch memory.
#[inline(always)]
pub fn tell<A: Tables>(
    config: Config,
    direction: Direction,
    protocol: u8,
    point: u16,
    remote: A,
    is_open: bool,
) {
    let head = Head {
        slot: config.slot as u16,
        is_egress: direction == Direction::Egress,
        is_v6: A::INDEX != 0,
        is_open,
        protocol,
        point,
    };
    let [a, b, c, d] = if is_open { [0; 4] } else { remote.words().map(u64::from) };
    sg_hit(head.number(), a | b << 32, c | d << 32);
}

/// A function of its own to the verifier: its stack is not the packet path's.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn sg_hit(head: u64, first: u64, last: u64) -> u32 {
    let key = HitKey { head, remote: [first, last] };
    let now = Config::load().clock().now;
    if let Some(hit) = HITS.get_ptr_mut(&key) {
        // SAFETY: the memory of an element stays one of its map's while the program runs, and both are aligned fields.
        // Should it be given to another key in this instant, a hit is counted for that one.
        unsafe {
            atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*hit).count, 1);
            (*hit).last = now;
        }
        return 0;
    }
    // Two processors in one instant lose one of two hits.
    let _ = HITS.insert(&key, &Hit { count: 1, last: now }, 0);
    0
}
