//! Keeps the table of established flows from silting up, with no process to sweep it.
//!
//! Nothing displaces a live established flow (P-16), and one that is over is noticed only when it is looked up. So every
//! established flow has a place in a ring, and whoever needs a place lets a hand go round: a place whose flow is gone or
//! over is free, and the dead entry goes. The work is bounded and is done by new connections only. A hand that finds
//! nothing but live flows says that the table is full.

use crate::{
    config::{Config, timeouts},
    maps::{self, Tables},
};
use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use sg_common::{
    limits::PLACES_PER_CLAIM,
    track::{Clock, is_live},
};

/// What the steps of one walk share.
struct Walk {
    generation: u64,
    claimed: bool,
}

/// One step: claims the next place if its flow is gone or over. Returns 1 to end the walk.
extern "C" fn step<A: Tables>(_step: u32, walk: *mut Walk) -> i64 {
    // SAFETY: `bpf_loop` hands on the pointer that `claim` gave it, to a value that lives through the loop.
    let walk = unsafe { &mut *walk };
    let (Some(turn), Some(packet)) = (maps::next_turn(A::INDEX), A::scratch()) else { return 1 };
    let place = A::place(turn);
    let Some(key) = A::ring(place) else { return 1 };
    // SAFETY: an element of an array, which is never freed; each turn is one walk's own, until the ring has gone round.
    let key = unsafe { &mut *key };
    // A flow that has another place by now, because its ends connected again, does not need this one.
    if let Some(flow) = maps::flow_mut(A::established().get_ptr_mut(&*key))
        && flow.place == place
    {
        let clock = Config::load().clock();
        let head = A::head(key);
        let lives = maps::policy(walk.generation, u32::from(head.slot))
            .is_some_and(|policy| is_live(flow, head, &timeouts(policy), &clock));
        if lives {
            return 0;
        }
        // Should another processor have removed it already, all the better.
        let _ = A::established().remove(&*key);
    }
    *key = packet.key;
    packet.flow.place = place;
    walk.claimed = true;
    1
}

/// Claims a place for the flow in scratch memory, whose key lies there too; `generation` says by whose timeouts other
/// flows are over. False where the table is full of live flows.
#[inline(always)]
pub fn claim<A: Tables>(generation: u64, clock: &Clock) -> bool {
    let mut walk = Walk { generation, claimed: false };
    // SAFETY: the callback has the form that bpf_loop calls, and `walk` outlives the loop.
    unsafe {
        bpf_loop(PLACES_PER_CLAIM, step::<A> as *mut c_void, (&raw mut walk).cast(), 0);
    }
    if !walk.claimed {
        maps::set_full_at(A::INDEX, clock.now);
    }
    walk.claimed
}

/// Whether a walk of the last second found the table full: then a new connection is refused at its SYN, as EC2 does at
/// its allowance (T-26), and not after its handshake.
#[inline(always)]
pub fn is_full<A: Tables>(clock: &Clock) -> bool {
    let full_at = maps::full_at(A::INDEX);
    full_at != 0 && clock.age(full_at) < clock.hz
}
