//! What is said of one packet: the line of `-o json`, which the table form is made of as well.

use crate::{observe::conntrack::protocol_name, time::rfc3339_micros};
use serde::Serialize;
use sg_common::{
    Direction,
    event::{Event, NO_PROTOCOL, what},
    reason::Verdict,
    vlan::Vlans,
    wire::protocol,
};
use std::{net::IpAddr, time::Duration};

/// A packet and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// RFC 3339, UTC.
    pub time: String,
    /// `drop`, `new` (it starts a flow), `closed` (it ends one), `pass`.
    pub event: &'static str,
    /// Device name.
    pub interface: String,
    /// `eni-…`
    pub eni_id: String,
    /// `ingress` or `egress`, seen from the instance.
    pub direction: &'static str,
    /// `allow` or `drop`.
    pub verdict: &'static str,
    /// As in `counters`.
    pub reason: &'static str,
    /// As EC2 prints it; null of what is no IP packet that was understood, as is all that an IP packet has.
    pub protocol: Option<String>,
    /// The interface's end.
    pub local: Option<IpAddr>,
    /// Null where the packet has no ports.
    pub local_port: Option<u16>,
    /// The far end.
    pub remote: Option<IpAddr>,
    /// Null where the packet has no ports.
    pub remote_port: Option<u16>,
    /// Wire packets: a super-packet's segments.
    pub packets: u32,
    /// From layer 2, over all segments.
    pub bytes: u64,
    /// TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<Vec<&'static str>>,
    /// ICMP and ICMPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// ICMP and ICMPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// `first` or `later`, of a fragment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment: Option<&'static str>,
    /// VLAN identifiers, the outer one first; of VLAN-aware interfaces only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlans: Option<Vec<u16>>,
    /// EtherType in hexadecimal, where there is no protocol and the frame has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<String>,
    /// Of a flow that ends: all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<Flow>,
}

/// A flow that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Wire packets both ways.
    pub packets: u64,
    /// Bytes both ways.
    pub bytes: u64,
}

/// The interface of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// Device name.
    pub name: String,
    /// `eni-…`
    pub eni_id: String,
    /// Its flows are told apart by VLAN.
    pub vlan_aware: bool,
}

/// Names of the bits of a TCP segment's flags, from the lowest on.
const FLAGS: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];

impl Line {
    /// Puts an event into words. `None` where its verdict is of another version.
    #[must_use]
    pub fn new(event: &Event, time: Duration, place: &Where) -> Option<Self> {
        let verdict = Verdict::of(event.verdict.into())?;
        let ends = event.ends();
        let number = u8::try_from(event.protocol).ok();
        let port = |port| event.has_ports().then_some(port);
        let is_icmp = event.fragment != LATER && matches!(number, Some(protocol::ICMP | protocol::ICMPV6));
        let is_tcp = event.fragment != LATER && number == Some(protocol::TCP);
        let closed = event.what & what::CLOSED != 0;
        let is_nameless = event.protocol == NO_PROTOCOL && event.ethertype != 0;
        Some(Self {
            time: rfc3339_micros(time),
            event: match event.what {
                bits if bits & what::DROPPED != 0 => "drop",
                bits if bits & what::NEW != 0 => "new",
                _ if closed => "closed",
                _ => "pass",
            },
            interface: place.name.clone(),
            eni_id: place.eni_id.clone(),
            direction: if event.direction == Direction::Ingress as u8 { "ingress" } else { "egress" },
            verdict: if verdict.passes() { "allow" } else { "drop" },
            reason: verdict.reason(),
            protocol: number.map(protocol_name),
            local: ends.map(|ends| ends.0),
            local_port: port(event.local_port),
            remote: ends.map(|ends| ends.1),
            remote_port: port(event.remote_port),
            packets: event.segments,
            bytes: event.bytes,
            tcp_flags: is_tcp.then(|| flags(event.tcp_flags)),
            icmp_type: is_icmp.then_some(event.icmp_type),
            icmp_code: is_icmp.then_some(event.icmp_code),
            fragment: match event.fragment {
                0 => None,
                LATER => Some("later"),
                _ => Some("first"),
            },
            vlans: place.vlan_aware.then(|| Vlans::from_bits(event.vlans).ids().collect()),
            ethertype: is_nameless.then(|| format!("{:#06x}", event.ethertype)),
            flow: closed.then_some(Flow { packets: event.flow_packets, bytes: event.flow_bytes }),
        })
    }
}

/// [`Event::fragment`] of a later fragment.
const LATER: u8 = 2;

fn flags(bits: u8) -> Vec<&'static str> {
    FLAGS.into_iter().enumerate().filter(|(bit, _)| bits >> bit & 1 != 0).map(|(_, name)| name).collect()
}
