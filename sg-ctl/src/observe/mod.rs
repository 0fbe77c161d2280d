//! What is seen of the datapath, in the shapes of `cli.md`: status, counters, flows.

pub(crate) mod conntrack;
pub(crate) mod counters;
pub(crate) mod status;
mod survivors;
mod tally;

pub use conntrack::{conntrack, flush};
pub use counters::{Overview, came, counters, counters_at_a_glance, overview, rate, stats};
pub use status::status;
pub use survivors::surviving_flows;
pub use tally::{Filled, Tally};

use serde::Serialize;
use std::collections::BTreeMap;

/// `sg-ctl status`
#[derive(Debug, Serialize)]
pub struct Status {
    /// Attached interfaces by name.
    pub interfaces: Vec<InterfaceStatus>,
    /// How full each map is.
    pub maps: Vec<MapStatus>,
    /// Version of the map layouts, [`sg_common::SCHEMA_VERSION`].
    pub datapath_version: u64,
}

/// One attached interface.
#[derive(Debug, Serialize)]
pub struct InterfaceStatus {
    /// Device name.
    pub name: String,
    /// Network namespace as the user named it.
    pub netns: Option<String>,
    /// The kernel's index.
    pub ifindex: u32,
    /// `eni-…`
    pub eni_id: String,
    /// Ids of its groups.
    pub groups: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// `host` or `guest`.
    pub side: String,
    /// `native`, `generic` or `tc`.
    pub mode: String,
    /// Why that mode.
    pub mode_reason: String,
    /// True when both programs are on the device and its policy is in force; not while it only observes (P-22).
    pub enforcing: bool,
    /// The host's live policy generation.
    pub generation: u64,
    /// RFC 3339, UTC.
    pub attached_since: String,
}

/// One map.
#[derive(Clone, Debug, Serialize)]
pub struct MapStatus {
    /// Name of the map.
    pub name: String,
    /// Entries now.
    pub entries: u64,
    /// Entries at most.
    pub max_entries: u64,
    /// Kernel memory held.
    pub memory_bytes: u64,
}

/// `sg-ctl counters`
#[derive(Debug, Serialize)]
pub struct Counters {
    /// Attached interfaces by name.
    pub interfaces: Vec<InterfaceCounters>,
    /// The host's flow table.
    pub conntrack: ConntrackCounters,
}

/// Counters of one interface.
#[derive(Debug, Serialize)]
pub struct InterfaceCounters {
    /// Device name.
    pub name: String,
    /// `eni-…`
    pub eni_id: String,
    /// The instance's inbound, on either side.
    pub ingress: DirectionCounters,
    /// The instance's outbound.
    pub egress: DirectionCounters,
    /// Hits by rule; empty until rules count.
    pub rules: Vec<RuleHits>,
}

/// Packets on the wire, and their bytes from layer 2.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Wire packets: a GSO super-packet counts its segments.
    pub packets: u64,
    /// Bytes from layer 2.
    pub bytes: u64,
}

/// One direction of one interface.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct DirectionCounters {
    /// All that passed.
    pub allowed_packets: u64,
    /// All that passed.
    pub allowed_bytes: u64,
    /// Sum over `dropped`.
    pub dropped_packets: u64,
    /// Sum over `dropped`.
    pub dropped_bytes: u64,
    /// What passed, by reason.
    pub allowed: BTreeMap<&'static str, Count>,
    /// What was dropped, by reason; only reasons that occurred.
    pub dropped: BTreeMap<&'static str, Count>,
}

/// New flows that a rule admitted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuleHits {
    /// `sgr-…`
    pub security_group_rule_id: String,
    /// New flows admitted.
    #[serde(rename = "hits")]
    pub hits: u64,
}

/// The host's flow table in numbers.
#[derive(Debug, Default, Serialize)]
pub struct ConntrackCounters {
    /// Flows in the table now, half-open ones included.
    pub tracked: u64,
    /// Packets let through without an entry.
    pub untracked_packets: u64,
    /// Packets that no rule was asked about (P-10).
    pub exempt_packets: u64,
    /// TCP connections that can still be tracked: EC2's `conntrack_allowance_available` (T-28).
    pub allowance_available: u64,
    /// Packets dropped because the table was full: EC2's `conntrack_allowance_exceeded`.
    pub allowance_exceeded: u64,
}

/// `sg-ctl conntrack stats`
#[derive(Debug, Serialize)]
pub struct ConntrackStats {
    /// As in `counters`.
    pub conntrack: ConntrackCounters,
    /// The flow tables, as in `status`. Entries of flows that are over stay in them until the agent
    /// sweeps them or their place is needed.
    pub tables: Vec<MapStatus>,
}

/// `sg-ctl conntrack list`
#[derive(Debug, Serialize)]
pub struct Flows {
    /// Live and half-open flows.
    pub flows: Vec<FlowStatus>,
}

/// One tracked flow.
#[derive(Debug, Serialize)]
pub struct FlowStatus {
    /// Device name.
    pub interface: String,
    /// As EC2 prints it: `tcp`, `udp`, `icmp`, `icmpv6`, else the number.
    pub protocol: String,
    /// Local address.
    pub local: String,
    /// Null for protocols without ports.
    pub local_port: Option<u16>,
    /// Remote address.
    pub remote: String,
    /// Null for protocols without ports.
    pub remote_port: Option<u16>,
    /// VLAN identifiers, the outer one first; flows of VLAN-aware interfaces only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlans: Option<Vec<u16>>,
    /// Identifier of an ICMP query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_id: Option<u16>,
    /// Which side started it: `ingress` or `egress`.
    pub initiated: &'static str,
    /// `half_open`, `established`, …
    pub state: &'static str,
    /// Since the last packet that was written down.
    pub idle_seconds: u64,
    /// Until it ends if nothing more comes.
    pub expires_in_seconds: u64,
    /// Wire packets both ways.
    pub packets: u64,
    /// Bytes both ways.
    pub bytes: u64,
}

/// Which flows to list.
#[derive(Debug, Default, Clone)]
pub struct FlowFilter {
    /// Device name or interface id.
    pub interface: Option<String>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Remote address within.
    pub remote: Option<ipnet::IpNet>,
}

impl FlowFilter {
    /// Whether a flow of that protocol with that far end is meant; the interface is for the caller to see to.
    #[must_use]
    pub fn means(&self, protocol: u8, remote: std::net::IpAddr) -> bool {
        self.protocol.is_none_or(|wanted| wanted == protocol)
            && self.remote.is_none_or(|net| net.contains(&remote))
    }
}
