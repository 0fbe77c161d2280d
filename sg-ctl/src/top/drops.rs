//! The last drops, those of the same kind together.

use crate::monitor::{Line, Where};
use sg_common::event::Event;
use std::{collections::VecDeque, time::Duration};

/// Kinds of drops that are remembered.
const REMEMBERED: usize = 256;

/// Packets that were dropped for the same reason on the same way between the same ends, whatever the sender's port.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// The last one.
    pub last: Event,
    /// When it was, since the epoch.
    pub time: Duration,
    /// Its interface.
    pub place: Where,
    /// Wire packets of the kind.
    pub packets: u64,
}

impl Dropped {
    fn is_like(&self, event: &Event) -> bool {
        let kind = |event: &Event| {
            (
                (event.slot, event.direction, event.verdict, event.family, event.vlans),
                (event.protocol, event.icmp_type, event.icmp_code, event.ethertype),
                // Inward the local port is the one that is asked for, outward the remote one.
                if event.direction == 0 { event.local_port } else { event.remote_port },
                (event.local, event.remote),
            )
        };
        kind(&self.last) == kind(event)
    }

    /// The last one in words.
    pub fn line(&self) -> Option<Line> {
        Line::new(&self.last, self.time, &self.place)
    }
}

/// The newest first.
#[derive(Clone, Debug, Default)]
pub struct Drops {
    kinds: VecDeque<Dropped>,
    /// Drops that it was not told of.
    pub missed: u64,
    /// Why it is told of none.
    pub refusal: Option<String>,
    has_news: bool,
}

impl Drops {
    /// Takes in a drop.
    pub fn add(&mut self, event: &Event, time: Duration, place: &Where) {
        let packets = u64::from(event.segments);
        let known = self.kinds.iter().position(|kind| kind.is_like(event));
        let mut dropped = match known.and_then(|at| self.kinds.remove(at)) {
            Some(known) => known,
            None => Dropped { last: *event, time, place: place.clone(), packets: 0 },
        };
        (dropped.last, dropped.time) = (*event, time);
        dropped.packets += packets;
        self.kinds.push_front(dropped);
        self.kinds.truncate(REMEMBERED);
        self.has_news = true;
    }

    /// Takes in that so many were not told.
    pub fn miss(&mut self, events: u64) {
        self.missed += events;
        self.has_news = true;
    }

    /// Remembers why nothing comes.
    pub fn refused(&mut self, why: String) {
        self.refusal = Some(why);
    }

    /// Whether something has come since this was last asked.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// All that are remembered, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Dropped> {
        self.kinds.iter()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use sg_common::event::{seen, what};

    /// The interface of drops in tests.
    pub fn place(name: &str) -> Where {
        Where { name: name.to_owned(), eni_id: "eni-00000001".to_owned(), vlan_aware: false }
    }

    /// A SYN from 198.51.100.`last` to 10.0.0.1:22.
    pub fn syn(last: u8, port: u16) -> Event {
        Event {
            bytes: 74,
            local: [u32::from_ne_bytes([10, 0, 0, 1]), 0, 0, 0],
            remote: [u32::from_ne_bytes([198, 51, 100, last]), 0, 0, 0],
            what: what::DROPPED,
            segments: 1,
            ethertype: 0x0800,
            protocol: 6,
            local_port: 22,
            remote_port: port,
            verdict: 16,
            family: seen::IPV4 as u8,
            tcp_flags: 2,
            ..Event::default()
        }
    }

    #[test]
    fn drops_of_a_kind_are_one_with_the_newest_first() {
        let mut drops = Drops::default();
        let place = place("eth0");
        for (second, event) in [syn(7, 1), syn(8, 1), syn(7, 2)].iter().enumerate() {
            drops.add(event, Duration::from_secs(second as u64), &place);
        }
        assert!(drops.take_news() && !drops.take_news());
        let seen: Vec<_> =
            drops.iter().map(|kind| (kind.last.remote_port, kind.packets, kind.time)).collect();
        assert_eq!(seen, [(2, 2, Duration::from_secs(2)), (1, 1, Duration::from_secs(1))]);
        let outward = Event { direction: 1, ..syn(7, 2) };
        drops.add(&outward, Duration::ZERO, &place);
        assert_eq!(drops.iter().count(), 3, "another way is another kind");
    }

    #[test]
    fn a_flood_of_kinds_is_forgotten_from_the_oldest_on() {
        let mut drops = Drops::default();
        for port in 0..1_000 {
            drops.add(&Event { local_port: port, ..syn(7, 1) }, Duration::ZERO, &place("eth0"));
        }
        assert_eq!(drops.iter().count(), REMEMBERED);
        assert_eq!(drops.iter().next().map(|kind| kind.last.local_port), Some(999));
    }
}
