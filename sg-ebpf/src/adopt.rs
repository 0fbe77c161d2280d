//! Takes up a connection that was open before the interface was attached (P-22).
//!
//! `sg-ctl` runs this program once for each connection that it finds, with an [`Adoption`] in place of a frame. Nothing
//! attaches it to a device. So the entry, its place in the ring and its hint bit are made by the same code, and with the
//! same atomic writes, as those of a flow that the programs saw begin, beside programs that are at work already.

use crate::{
    config::Config,
    maps::{self, Insert, ONLY_NEW, Tables},
    reclaim,
};
use sg_common::{
    Direction,
    adopt::{Adoption, Answer},
    packet::Cursor,
    policy::hint_bit,
    track,
};

/// Makes the entry. `None` where what was given is too short.
#[inline(always)]
pub fn take_up<C: Cursor>(given: C) -> Option<Answer> {
    let adoption: Adoption = given.read(0)?;
    if adoption.family == 0 {
        entry::<u32>(&adoption, adoption.local[0], adoption.remote[0])
    } else {
        entry::<[u32; 4]>(&adoption, adoption.local, adoption.remote)
    }
}

#[inline(always)]
fn entry<A: Tables>(adoption: &Adoption, local: A, remote: A) -> Option<Answer> {
    let packet = A::scratch()?;
    packet.key = A::flow_key(adoption.head, local, remote);
    if A::established().get_ptr_mut(&packet.key).is_some() {
        return Some(Answer::Present);
    }
    let clock = Config::load().clock();
    track::adopt(&mut packet.flow, adoption.started, adoption.fins as u8, &clock);
    if !reclaim::claim::<A>(maps::live_word(), &clock) {
        return Some(Answer::Full);
    }
    if maps::inserted(A::established().insert(&packet.key, &packet.flow, ONLY_NEW)) == Insert::Full {
        return Some(Answer::Full);
    }
    let inward = adoption.started == Direction::Ingress as u32;
    let port = if inward { adoption.head.remote_port } else { adoption.head.local_port };
    maps::set_hint(hint_bit(u32::from(adoption.head.slot), false, inward, port));
    Some(Answer::Made)
}
