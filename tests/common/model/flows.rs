//! Entries of live flows: their keys, and how long each lives (P-5 to P-9, T-15 to T-19).
//!
//! An entry is live as long as its idle time is at most its timeout. Every entry in the table has a start that P-2
//! does not cover: none is made otherwise, and a policy change sweeps those that it covers (P-3a).

use super::{
    opposite,
    packet::{Packet, UDP, Vlans},
    tcp::{End, Tcp},
    transport::{Icmp, IsAnswer, query},
};
use sg_ctl::model::{Direction, EniId, Timeouts};
use std::{collections::HashMap, net::IpAddr};

/// P-7, in seconds.
const ICMP_SECONDS: u64 = 30;
/// P-9 and T-17, in seconds.
const OTHER_SECONDS: u64 = 600;
/// P-6: a UDP flow is a stream once so many packets were seen from each end.
const STREAM_PACKETS: u32 = 2;

/// What a flow is known by. Addresses and ports are those the instance sees, so both directions have one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlowKey {
    pub interface: EniId,
    pub local: IpAddr,
    pub remote: IpAddr,
    pub protocol: u8,
    /// P-13.
    pub vlans: Vlans,
    detail: Detail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Detail {
    Ports {
        local: u16,
        remote: u16,
    },
    /// P-7: the direction of the start is a part of the key.
    Query {
        start: Direction,
        request: u8,
        identifier: u16,
    },
    /// P-9.
    Protocol,
}

impl FlowKey {
    fn new(interface: EniId, packet: &Packet<'_>, detail: Detail) -> Self {
        let (local, remote) = (packet.local(), packet.remote());
        Self { interface, local, remote, protocol: packet.protocol, vlans: packet.vlans, detail }
    }

    pub fn of_ports(interface: EniId, packet: &Packet<'_>, source: u16, destination: u16) -> Self {
        let (local, remote) = match packet.direction {
            Direction::Ingress => (destination, source),
            Direction::Egress => (source, destination),
        };
        Self::new(interface, packet, Detail::Ports { local, remote })
    }

    /// `None` where the message is no query and no answer to one.
    pub fn of_query(interface: EniId, packet: &Packet<'_>, icmp: Icmp<'_>) -> Option<(Self, IsAnswer)> {
        let (request, is_answer) = query(icmp.kind, packet.is_ipv6())?;
        let start = query_start(packet.direction, is_answer);
        let detail = Detail::Query { start, request, identifier: icmp.identifier };
        Some((Self::new(interface, packet, detail), is_answer))
    }

    pub fn of_protocol(interface: EniId, packet: &Packet<'_>) -> Self {
        Self::new(interface, packet, Detail::Protocol)
    }

    /// The flow that an ICMP error is about, a packet of which it quotes (P-8). That went the other way, in the same
    /// VLAN as the error.
    pub fn of_quote(interface: EniId, error: &Packet<'_>, quote: &super::quote::Quote) -> Self {
        use super::quote;
        let direction = opposite(error.direction);
        let inward = direction == Direction::Ingress;
        let (local, remote) =
            if inward { (quote.destination, quote.source) } else { (quote.source, quote.destination) };
        let detail = match quote.detail {
            quote::Detail::Ports { source, destination } if inward => {
                Detail::Ports { local: destination, remote: source }
            }
            quote::Detail::Ports { source, destination } => {
                Detail::Ports { local: source, remote: destination }
            }
            quote::Detail::Query { request, identifier, is_answer } => {
                Detail::Query { start: query_start(direction, is_answer), request, identifier }
            }
            quote::Detail::Protocol => Detail::Protocol,
        };
        Self { interface, local, remote, protocol: quote.protocol, vlans: error.vlans, detail }
    }

    /// Local and remote port, of protocols that have them.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self.detail {
            Detail::Ports { local, remote } => Some((local, remote)),
            Detail::Query { .. } | Detail::Protocol => None,
        }
    }

    pub fn is_udp(&self) -> bool {
        self.protocol == UDP
    }
}

/// An answer belongs to a query that was started the other way.
fn query_start(direction: Direction, is_answer: IsAnswer) -> Direction {
    if is_answer.0 { opposite(direction) } else { direction }
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// The direction of the first packet.
    pub start: Direction,
    pub state: FlowState,
}

/// What an entry holds beside its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FlowState {
    Tcp(Tcp),
    /// Packets of each end, the one that started first.
    Udp {
        last_seen: u64,
        packets: [u32; 2],
    },
    Icmp {
        last_seen: u64,
    },
    Other {
        last_seen: u64,
    },
}

impl Flow {
    /// The end that a packet of this direction comes from.
    pub fn end(&self, direction: Direction) -> End {
        if direction == self.start { End::Initiator } else { End::Responder }
    }

    pub fn is_live(&self, now: u64, timeouts: Timeouts) -> bool {
        let (last_seen, seconds) = match &self.state {
            FlowState::Tcp(tcp) => tcp.idle_since_and_timeout(timeouts),
            FlowState::Udp { last_seen, packets } => {
                let is_stream = packets.iter().all(|&seen| seen >= STREAM_PACKETS);
                (*last_seen, u64::from(if is_stream { timeouts.udp_stream } else { timeouts.udp }))
            }
            FlowState::Icmp { last_seen } => (*last_seen, ICMP_SECONDS),
            FlowState::Other { last_seen } => (*last_seen, OTHER_SECONDS),
        };
        now - last_seen <= seconds
    }

    /// A packet of a flow without handshake: each one counts and refreshes. TCP has its own rules, see [`Tcp`].
    pub fn refresh(&mut self, direction: Direction, now: u64) {
        let end = self.end(direction);
        match &mut self.state {
            FlowState::Tcp(_) => {}
            FlowState::Udp { last_seen, packets } => {
                *last_seen = now;
                packets[end as usize] = packets[end as usize].saturating_add(1);
            }
            FlowState::Icmp { last_seen } | FlowState::Other { last_seen } => *last_seen = now,
        }
    }
}

/// The flow table, without bounds.
#[derive(Default)]
pub(super) struct Flows(HashMap<FlowKey, Flow>);

impl Flows {
    /// The live entry of a flow. An expired one is removed here: it never comes back.
    pub fn live(&mut self, key: &FlowKey, now: u64, timeouts: Timeouts) -> Option<&mut Flow> {
        if !self.0.get(key)?.is_live(now, timeouts) {
            self.0.remove(key);
        }
        self.0.get_mut(key)
    }

    /// A new entry, in place of any older one.
    pub fn start(&mut self, key: FlowKey, flow: Flow) {
        self.0.insert(key, flow);
    }

    pub fn remove(&mut self, key: &FlowKey) {
        self.0.remove(key);
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&FlowKey, &Flow) -> bool) {
        self.0.retain(|key, flow| keep(key, flow));
    }
}
