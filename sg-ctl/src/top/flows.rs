//! Who talks: what the flows of each far end and each port carried between two looks at the flow tables.
//!
//! Memory is bounded however many flows there are: of a flow only a hash of its key and its two counts are kept from one look
//! to the next, which the sizes of the flow tables bound, and of far ends and ports the busiest only.

use crate::observe::{came, conntrack::protocol_name};
use sg_common::{
    Direction,
    flow::{Flow, KeyHead},
    wire::protocol,
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
};

/// Far ends, and ports, that are told apart; up to twice as many while a look lasts, after which the less busy ones are let
/// go of.
const KEPT: usize = 8_192;

/// What flows have in common that somebody on the host or beyond it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// IP protocol number.
    pub protocol: u8,
    /// The local port of flows that began inward, the remote port of others; `None` where the protocol has no ports.
    pub port: Option<u16>,
    /// Whether the flows began inward.
    pub is_inward: bool,
}

impl Service {
    fn of(head: &KeyHead, flow: &Flow) -> Self {
        let is_inward = flow.started == Direction::Ingress as u32;
        let has_ports = matches!(head.protocol, protocol::TCP | protocol::UDP);
        let port = if is_inward { head.local_port } else { head.remote_port };
        Self { protocol: head.protocol, port: has_ports.then_some(port), is_inward }
    }

    /// `tcp/443`, `icmp`
    pub fn name(&self) -> String {
        let protocol = protocol_name(self.protocol);
        self.port.map_or(protocol.clone(), |port| format!("{protocol}/{port}"))
    }
}

/// What some flows have in common and carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Live flows, silent ones as well.
    pub flows: u64,
    /// Wire packets both ways since the look before.
    pub packets: u64,
    /// Bytes both ways since the look before.
    pub bytes: u64,
}

/// The busiest of many.
#[derive(Clone, Debug)]
pub struct Busiest<K> {
    loads: HashMap<K, Load>,
    /// Some were too many.
    pub is_partial: bool,
}

impl<K> Default for Busiest<K> {
    fn default() -> Self {
        Self { loads: HashMap::new(), is_partial: false }
    }
}

impl<K: Copy + Eq + Hash + Ord> Busiest<K> {
    fn add(&mut self, key: K, packets: u64, bytes: u64) {
        let load = self.loads.entry(key).or_default();
        load.flows += 1;
        load.packets += packets;
        load.bytes += bytes;
        if self.loads.len() == 2 * KEPT {
            self.prune();
        }
    }

    fn prune(&mut self) {
        let mut all: Vec<(K, Load)> = self.loads.drain().collect();
        if all.len() > KEPT {
            all.select_nth_unstable_by_key(KEPT, |(_, load)| {
                std::cmp::Reverse((load.packets, load.bytes, load.flows))
            });
            all.truncate(KEPT);
            self.is_partial = true;
        }
        self.loads.extend(all);
    }

    /// All that are left, in the order of their keys.
    pub fn in_order(&self) -> Vec<(K, Load)> {
        let mut all: Vec<(K, Load)> = self.loads.iter().map(|(key, load)| (*key, *load)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}

/// One look at the flow tables.
#[derive(Debug, Default)]
pub struct FlowLook {
    /// Packets and bytes of each flow until now, by a hash of its key of 64 bits. Two flows of the same hash would share them:
    /// among half a million, less than once in a hundred million looks.
    counts: HashMap<u64, (u64, u64)>,
    /// By far end.
    pub remotes: Busiest<IpAddr>,
    /// By what they are for.
    pub services: Busiest<Service>,
}

impl FlowLook {
    /// Takes in a live flow. What is new since `before` carried all that it counted; where there is no look before, nothing
    /// is known to have moved.
    pub fn note(
        &mut self,
        before: Option<&Self>,
        hasher: &RandomState,
        head: &KeyHead,
        (local, remote): (IpAddr, IpAddr),
        flow: &Flow,
    ) {
        let name = hasher.hash_one((head, local, remote));
        let (packets, bytes) = before.map_or((0, 0), |before| {
            let (packets, bytes) = before.counts.get(&name).copied().unwrap_or_default();
            (came(flow.packets, packets), came(flow.bytes, bytes))
        });
        self.counts.insert(name, (flow.packets, flow.bytes));
        self.remotes.add(remote, packets, bytes);
        self.services.add(Service::of(head, flow), packets, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sg_common::vlan::Vlans;
    use std::net::Ipv4Addr;

    fn head(protocol: u8, local_port: u16, remote_port: u16) -> KeyHead {
        KeyHead { slot: 1, protocol, start: 0, local_port, remote_port, vlans: Vlans::NONE }
    }

    fn flow(packets: u64, started: Direction) -> Flow {
        Flow { packets, bytes: 100 * packets, started: started as u32, ..Flow::default() }
    }

    fn ends(last: u8) -> (IpAddr, IpAddr) {
        ([10, 0, 0, 1].into(), [198, 51, 100, last].into())
    }

    #[test]
    fn what_flows_carried_between_two_looks_is_added_up_by_far_end_and_by_port() {
        let hasher = RandomState::new();
        let mut first = FlowLook::default();
        first.note(None, &hasher, &head(6, 443, 50_000), ends(7), &flow(10, Direction::Ingress));
        first.note(None, &hasher, &head(6, 443, 50_001), ends(7), &flow(900, Direction::Ingress));
        let silent = Load { flows: 2, packets: 0, bytes: 0 };
        assert_eq!(first.remotes.in_order(), [(ends(7).1, silent)], "nothing is known of the time before");

        let mut second = FlowLook::default();
        let mut note = |head: &KeyHead, last, flow: &Flow| {
            second.note(Some(&first), &hasher, head, ends(last), flow);
        };
        note(&head(6, 443, 50_000), 7, &flow(14, Direction::Ingress));
        // Another connection with the same ends: its count began anew.
        note(&head(6, 443, 50_001), 7, &flow(3, Direction::Ingress));
        note(&head(6, 40_000, 443), 8, &flow(5, Direction::Egress));
        note(&head(1, 77, 8), 8, &flow(1, Direction::Egress));
        let load = |flows, packets| Load { flows, packets, bytes: 100 * packets };
        assert_eq!(second.remotes.in_order(), [(ends(7).1, load(2, 7)), (ends(8).1, load(2, 6))]);
        let services: Vec<_> = second.services.in_order();
        let named: Vec<_> = services.iter().map(|(key, load)| (key.name(), key.is_inward, *load)).collect();
        assert_eq!(
            named,
            [
                ("icmp".to_owned(), false, load(1, 1)),
                ("tcp/443".to_owned(), false, load(1, 5)),
                ("tcp/443".to_owned(), true, load(2, 7)),
            ]
        );
    }

    #[test]
    fn of_very_many_far_ends_the_busiest_are_kept() {
        let mut busiest = Busiest::default();
        for number in 0..100_000_u32 {
            let packets = if number % 1_000 == 0 { 1_000_000 } else { 1 };
            busiest.add(Ipv4Addr::from(number), packets, 0);
            assert!(busiest.loads.len() <= 2 * KEPT);
        }
        assert!(busiest.is_partial);
        let busy = busiest.in_order().iter().filter(|(_, load)| load.packets > 1).count();
        assert_eq!(busy, 100);
    }
}
