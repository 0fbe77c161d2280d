//! One security group rule: a direction, a kind of traffic, and exactly one peer (M-15).

use super::{GroupId, Object, Objects, PrefixListId, RuleId, Tags, VpcId};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whose packets a rule admits, seen from the instance.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Towards the instance.
    Ingress,
    /// From the instance.
    Egress,
}

impl Direction {
    /// Both, inbound first.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The other one.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }
}

impl From<Direction> for sg_common::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Self::Ingress,
            Direction::Egress => Self::Egress,
        }
    }
}

/// A rule. Its identity for EC2 is everything but id, description and tags (M-19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `sgr-…`
    pub id: RuleId,
    /// The group it belongs to.
    pub group: GroupId,
    /// Inbound or outbound.
    pub direction: Direction,
    /// Protocol, and ports or type and code.
    pub traffic: Traffic,
    /// Source of an inbound, destination of an outbound rule.
    pub peer: Peer,
    /// The VPC of the group that is its peer, where that is another: known still when the group is gone (M-72).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_vpc: Option<VpcId>,
    /// Free text, at most 255 characters of EC2's set (M-8).
    #[serde(default)]
    pub description: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl Rule {
    /// A rule without description and tags.
    #[must_use]
    pub fn new(id: RuleId, group: GroupId, direction: Direction, traffic: Traffic, peer: Peer) -> Self {
        Self { id, group, direction, traffic, peer, peer_vpc: None, description: None, tags: Tags::new() }
    }

    /// Whether EC2 takes the two for the same rule (M-19): a second one is a duplicate.
    #[must_use]
    pub fn same_identity(&self, other: &Self) -> bool {
        self.group == other.group
            && self.direction == other.direction
            && self.traffic == other.traffic
            && self.peer == other.peer
    }
}

/// What rules are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleTerm {
    /// The group that they belong to.
    Of(GroupId),
    /// The group that is their peer.
    NamingGroup(GroupId),
    /// The prefix list that is their peer.
    NamingList(PrefixListId),
}

impl fmt::Display for RuleTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(group) => write!(f, "group={group}"),
            Self::NamingGroup(group) => write!(f, "peer={group}"),
            Self::NamingList(list) => write!(f, "peer={list}"),
        }
    }
}

impl Object for Rule {
    type Term = RuleTerm;

    fn terms(&self) -> Vec<RuleTerm> {
        let named = match self.peer {
            Peer::Group(group) => Some(RuleTerm::NamingGroup(group)),
            Peer::PrefixList(list) => Some(RuleTerm::NamingList(list)),
            Peer::Ipv4(_) | Peer::Ipv6(_) => None,
        };
        [RuleTerm::Of(self.group)].into_iter().chain(named).collect()
    }
}

impl Objects<RuleId, Rule> {
    /// The rules of a group.
    pub fn of_group(&self, group: GroupId) -> impl Iterator<Item = &Rule> + Clone {
        self.having(&RuleTerm::Of(group))
    }

    /// The rules, of whatever group, that name a group.
    pub fn naming_group(&self, group: GroupId) -> impl Iterator<Item = &Rule> + Clone {
        self.having(&RuleTerm::NamingGroup(group))
    }

    /// The rules that name a prefix list.
    pub fn naming_list(&self, list: PrefixListId) -> impl Iterator<Item = &Rule> + Clone {
        self.having(&RuleTerm::NamingList(list))
    }
}

/// What a rule admits, in normal form: 6, 17, 1 and 58 are always the named protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// Protocol -1: everything.
    All,
    /// TCP to (or from) these ports.
    Tcp(PortRange),
    /// UDP to (or from) these ports.
    Udp(PortRange),
    /// ICMP for IPv4.
    Icmp(IcmpMatch),
    /// ICMP for IPv6.
    Icmpv6(IcmpMatch),
    /// Any other protocol number; never 1, 6, 17 or 58.
    Other(u8),
}

/// An inclusive range of ports, `from` at most `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// First port.
    pub from: u16,
    /// Last port.
    pub to: u16,
}

impl PortRange {
    /// 0 to 65535.
    pub const ALL: Self = Self { from: 0, to: u16::MAX };
}

/// Which ICMP messages: `All` is type -1 code -1, a missing code is -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IcmpMatch {
    /// Every type and code.
    All,
    /// One type, every code of it.
    Type(u8),
    /// One type with one code.
    TypeCode(u8, u8),
}

/// The one source or destination of a rule. There is no "anyone" but the written `0.0.0.0/0` and `::/0`, and a group
/// without members admits nobody: the type cannot say otherwise (CVE-2025-64715 was a set that could).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// An IPv4 prefix in canonical form.
    Ipv4(Ipv4Net),
    /// An IPv6 prefix in canonical form.
    Ipv6(Ipv6Net),
    /// The members of a group (P-17).
    Group(GroupId),
    /// The entries of a prefix list, in its newest version (M-58).
    PrefixList(PrefixListId),
}

impl Traffic {
    /// The protocol as EC2 prints it: `-1`, `tcp`, `udp`, `icmp`, `icmpv6`, else the number.
    #[must_use]
    pub fn protocol(self) -> String {
        match self {
            Self::All => "-1".to_owned(),
            Self::Tcp(_) => "tcp".to_owned(),
            Self::Udp(_) => "udp".to_owned(),
            Self::Icmp(_) => "icmp".to_owned(),
            Self::Icmpv6(_) => "icmpv6".to_owned(),
            Self::Other(number) => number.to_string(),
        }
    }

    /// EC2's `FromPort` and `ToPort`: ports, or ICMP type and code with -1 for all. `None` where there is
    /// nothing to choose: all protocols, and protocols of which EC2 knows no ports.
    #[must_use]
    pub fn from_to(self) -> Option<(i32, i32)> {
        match self {
            Self::All | Self::Other(_) => None,
            Self::Tcp(range) | Self::Udp(range) => Some((range.from.into(), range.to.into())),
            Self::Icmp(icmp) | Self::Icmpv6(icmp) => Some(match icmp {
                IcmpMatch::All => (-1, -1),
                IcmpMatch::Type(kind) => (kind.into(), -1),
                IcmpMatch::TypeCode(kind, code) => (kind.into(), code.into()),
            }),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ipv4(net) => net.fmt(f),
            Self::Ipv6(net) => net.fmt(f),
            Self::Group(id) => id.fmt(f),
            Self::PrefixList(id) => id.fmt(f),
        }
    }
}
