//! The memory of untracked UDP (P-3).
//!
//! Untracked UDP makes no entry, only a mark: this tuple, started in this direction. When the rule of the flow is gone
//! the mark keeps the answering end from carrying the flow on as one of its own.
//!
//! The specification says how long a mark holds at least (180 s since it was last set) and lets it live on to the
//! second turn of the filter's halves (360 s). In between only the datapath knows. Where such a mark may or may not
//! have been renewed, with the same verdict either way, the model keeps both times.

use super::{flows::FlowKey, packet::Vlans};
use sg_ctl::model::{Direction, EniId};
use std::{collections::HashMap, net::IpAddr};

/// A mark holds this long, in seconds.
const HOLDS: u64 = 180;
/// And never longer than this.
const AT_MOST: u64 = 360;

/// A tuple, as the instance sees it, and who started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct MarkKey {
    pub interface: EniId,
    local: IpAddr,
    remote: IpAddr,
    vlans: Vlans,
    ports: Option<(u16, u16)>,
    start: Direction,
}

impl MarkKey {
    /// The mark of the UDP flow `key`, if it was started in direction `start`.
    pub fn of(key: &FlowKey, start: Direction) -> Self {
        let FlowKey { interface, local, remote, vlans, .. } = *key;
        Self { interface, local, remote, vlans, ports: key.ports(), start }
    }
}

/// What is known of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Holds,
    Gone,
    /// Between the times, or perhaps renewed.
    Open,
}

/// When a mark was last set: for sure, and perhaps.
#[derive(Clone, Copy, Default)]
struct Times {
    surely: Option<u64>,
    perhaps: Option<u64>,
}

/// All marks.
#[derive(Default)]
pub(super) struct Marks(HashMap<MarkKey, Times>);

impl Marks {
    /// What is known of the mark at second `now`.
    pub fn read(&self, key: &MarkKey, now: u64) -> Mark {
        let Some(times) = self.0.get(key) else { return Mark::Gone };
        let within = |time: Option<u64>, seconds| time.is_some_and(|time| now - time <= seconds);
        if within(times.surely, HOLDS) {
            Mark::Holds
        } else if within(times.surely, AT_MOST) || within(times.perhaps, AT_MOST) {
            Mark::Open
        } else {
            Mark::Gone
        }
    }

    /// Set, or renewed.
    pub fn set(&mut self, key: MarkKey, now: u64) {
        self.0.insert(key, Times { surely: Some(now), perhaps: None });
    }

    /// Perhaps set or renewed: nothing shows which.
    pub fn perhaps_set(&mut self, key: MarkKey, now: u64) {
        self.0.entry(key).or_default().perhaps = Some(now);
    }

    pub fn forget(&mut self, key: &MarkKey) {
        self.0.remove(key);
    }

    pub fn retain(&mut self, keep: impl Fn(&MarkKey) -> bool) {
        self.0.retain(|key, _| keep(key));
    }
}
