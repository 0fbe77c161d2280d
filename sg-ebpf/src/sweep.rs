//! Takes entries of flows that are over out of the tables, when userspace has seen some (`sg-ctl agent`).
//!
//! Between a look at an entry from outside and its removal the flow may have gone on, or another may have begun under the
//! same key. So userspace removes nothing: it hands the keys to this program, which judges each entry anew, by the
//! policy and the clock of this moment, as a packet would. Nothing attaches it to a device.

use crate::{
    config::{Config, timeouts},
    maps::{self, Tables},
};
use sg_common::{
    packet::Cursor,
    sweep::{SWEEP_FLOWS, Suspect, SweepHead, Table},
    track::{Clock, is_long_over},
};

/// Removes what is over of the flows that are named. Returns how many; `None` where what was given is too short.
#[inline(always)]
pub fn sweep<C: Cursor>(given: C) -> Option<u32> {
    let head: SweepHead = given.read(0)?;
    let clock = Config::load().clock();
    let word = maps::live_word();
    let mut removed = 0;
    for index in 0..SWEEP_FLOWS {
        if index as u32 >= head.count {
            break;
        }
        let suspect: Suspect = given.read(size_of::<SweepHead>() + index * size_of::<Suspect>())?;
        let Suspect { head: key, local, remote } = suspect;
        let is_gone = if head.family == 0 {
            remove::<u32>(head.table, &u32::flow_key(key, local[0], remote[0]), word, &clock)
        } else {
            remove::<[u32; 4]>(head.table, &<[u32; 4]>::flow_key(key, local, remote), word, &clock)
        };
        removed += u32::from(is_gone);
    }
    Some(removed)
}

/// Removes the entry if its flow is over.
#[inline(always)]
fn remove<A: Tables>(table: u32, key: &A::FlowKey, word: u64, clock: &Clock) -> bool {
    let (established, answered) = (Table::Established as u32, Table::Answered as u32);
    let entry = if table == established {
        A::established().get_ptr_mut(key)
    } else if table == answered {
        A::answered().get_ptr_mut(key)
    } else {
        A::pending().get_ptr_mut(key)
    };
    let Some(flow) = maps::flow_mut(entry) else { return false };
    let head = A::head(key);
    let Some(policy) = maps::policy(word, u32::from(head.slot)) else { return false };
    if !is_long_over(flow, head, &timeouts(policy), clock) {
        return false;
    }
    let removed = if table == established {
        A::established().remove(key)
    } else if table == answered {
        A::answered().remove(key)
    } else {
        A::pending().remove(key)
    };
    // Should a packet have found it over and removed it this instant, all the better.
    removed.is_ok()
}
