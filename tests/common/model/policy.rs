//! What the rules say, read literally for each packet (T-1, P-2, P-10, P-15, P-17).

use super::{
    opposite,
    packet::{Content, ICMP, ICMPV6, Packet, TCP, UDP},
};
use sg_ctl::model::{
    Attachment, Direction, EniId, GroupId, IcmpMatch, Interface, Objects, Options, Peer, PortRange,
    PrefixList, PrefixListId, Rule, Side, State, Timeouts, Traffic,
};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A copy of the state, with the rules laid beside the interfaces that they are for.
#[derive(Default)]
pub(super) struct Policy {
    interfaces: HashMap<EniId, Settings>,
    prefix_lists: Objects<PrefixListId, PrefixList>,
}

/// An interface, and the union of the rules of all its groups (T-1).
pub(super) struct Settings {
    interface: Interface,
    rules: Vec<Rule>,
}

/// The two ports of a flow, as the instance sees them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    pub local: u16,
    pub remote: u16,
}

impl Policy {
    pub fn copy_of(state: &State) -> Self {
        let settings = |interface: &Interface| Settings {
            interface: interface.clone(),
            rules: state
                .rules
                .values()
                .filter(|rule| interface.groups.contains(&rule.group))
                .cloned()
                .collect(),
        };
        let interfaces = state.interfaces.values().map(|it| (it.id, settings(it))).collect();
        Self { interfaces, prefix_lists: state.prefix_lists.clone() }
    }

    pub fn interface(&self, id: EniId) -> Option<&Settings> {
        self.interfaces.get(&id)
    }

    /// Whether any rule of the interface admits the packet (T-1), or the implied one of P-10 does.
    pub fn admits(&self, interface: EniId, packet: &Packet<'_>) -> bool {
        let Some(settings) = self.interface(interface) else { return false };
        let remote = packet.remote();
        let by_rule = settings.rules.iter().any(|rule| {
            rule.direction == packet.direction
                && traffic_matches(rule.traffic, packet)
                && self.peer_matches(rule.peer, remote)
        });
        let implied = !settings.options().no_exempt_link_local && is_service(packet);
        by_rule || implied
    }

    fn peer_matches(&self, peer: Peer, remote: IpAddr) -> bool {
        match (peer, remote) {
            (Peer::Ipv4(net), IpAddr::V4(address)) => net.contains(&address),
            (Peer::Ipv6(net), IpAddr::V6(address)) => net.contains(&address),
            (Peer::Ipv4(_), IpAddr::V6(_)) | (Peer::Ipv6(_), IpAddr::V4(_)) => false,
            (Peer::Group(group), remote) => self.is_member(group, remote),
            (Peer::PrefixList(list), remote) => {
                // M-58: always the newest version.
                let list = self.prefix_lists.get(&list);
                list.is_some_and(|list| list.current().any(|(cidr, _)| cidr.contains(&remote)))
            }
        }
    }

    /// P-17: the members of a group are the addresses of the interfaces in it, but for link-local ones.
    fn is_member(&self, group: GroupId, address: IpAddr) -> bool {
        !is_link_local(address)
            && self
                .interfaces
                .values()
                .map(|settings| &settings.interface)
                .any(|interface| interface.groups.contains(&group) && interface.addresses.contains(&address))
    }
}

impl Settings {
    fn attachment(&self) -> &Attachment {
        self.interface.attachment.as_ref().expect("packets come to attached interfaces only")
    }

    pub fn side(&self) -> Side {
        self.attachment().side
    }

    pub fn options(&self) -> Options {
        self.attachment().options
    }

    pub fn timeouts(&self) -> Timeouts {
        self.attachment().timeouts.in_force()
    }

    pub fn owns(&self, address: IpAddr) -> bool {
        self.interface.addresses.contains(&address)
    }

    /// P-2: whether a flow of TCP or UDP that was started in direction `start` is untracked. Inward that asks for (a),
    /// the local port open inward to the world and everything open outward; outward for (b), its mirror image.
    pub fn covers(&self, start: Direction, protocol: u8, is_ipv6: bool, port: Port) -> bool {
        let opening = match start {
            Direction::Ingress => port.local,
            Direction::Egress => port.remote,
        };
        let opening = PortRange { from: opening, to: opening };
        // T-14: `--force-track` tracks whatever the rules say.
        !self.options().force_track
            && self.is_open_to_world(start, protocol, is_ipv6, opening)
            && self.is_open_to_world(opposite(start), protocol, is_ipv6, PortRange::ALL)
    }

    /// Whether one single rule, written as all addresses of the family (T-13: no group, no list), holds all the ports.
    fn is_open_to_world(&self, direction: Direction, protocol: u8, is_ipv6: bool, ports: PortRange) -> bool {
        self.rules.iter().any(|rule| {
            let world = match rule.peer {
                Peer::Ipv4(net) => !is_ipv6 && net.prefix_len() == 0,
                Peer::Ipv6(net) => is_ipv6 && net.prefix_len() == 0,
                Peer::Group(_) | Peer::PrefixList(_) => false,
            };
            let holds = |range: PortRange| range.from <= ports.from && ports.to <= range.to;
            let traffic = match rule.traffic {
                Traffic::All => true,
                Traffic::Tcp(range) => protocol == TCP && holds(range),
                Traffic::Udp(range) => protocol == UDP && holds(range),
                Traffic::Icmp(_) | Traffic::Icmpv6(_) | Traffic::Other(_) => false,
            };
            rule.direction == direction && world && traffic
        })
    }
}

/// Whether the rule is about this kind of packet. The port is the destination's: inward the local one, outward the
/// remote one (P-15).
fn traffic_matches(traffic: Traffic, packet: &Packet<'_>) -> bool {
    let within = |range: PortRange, port: u16| range.from <= port && port <= range.to;
    match (traffic, packet.content) {
        (Traffic::All, _) => true,
        (Traffic::Tcp(range), Content::Tcp(segment)) => within(range, segment.destination),
        (Traffic::Udp(range), Content::Udp { destination, .. }) => within(range, destination),
        (Traffic::Icmp(which), _) if packet.protocol == ICMP => icmp_matches(which, packet),
        (Traffic::Icmpv6(which), _) if packet.protocol == ICMPV6 => icmp_matches(which, packet),
        (Traffic::Other(number), Content::Other) => number == packet.protocol,
        _ => false,
    }
}

/// ICMP of the other family (protocol 1 in IPv6, 58 in IPv4) has no type that a rule could name.
fn icmp_matches(which: IcmpMatch, packet: &Packet<'_>) -> bool {
    match (which, packet.content) {
        (IcmpMatch::All, _) => true,
        (IcmpMatch::Type(kind), Content::Icmp(icmp)) => icmp.kind == kind,
        (IcmpMatch::TypeCode(kind, code), Content::Icmp(icmp)) => icmp.kind == kind && icmp.code == code,
        (IcmpMatch::Type(_) | IcmpMatch::TypeCode(..), _) => false,
    }
}

/// P-10: the service addresses (N-1, N-3 to N-6) are an implied outward rule.
fn is_service(packet: &Packet<'_>) -> bool {
    let amazon = |last: u16| IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, last));
    let local = |third: u8, last: u8| IpAddr::V4(Ipv4Addr::new(169, 254, third, last));
    let remote = packet.remote();
    let is = |addresses: &[IpAddr]| addresses.contains(&remote);
    packet.direction == Direction::Egress
        && match packet.content {
            Content::Tcp(segment) => match segment.destination {
                53 => is(&[local(169, 253), amazon(0x253)]),
                80 => is(&[local(169, 254), amazon(0x254), local(170, 2)]),
                1688 => is(&[local(169, 250), local(169, 251)]),
                _ => false,
            },
            Content::Udp { destination: 53, .. } => is(&[local(169, 253), amazon(0x253)]),
            Content::Udp { destination: 123, .. } => is(&[local(169, 123), amazon(0x123)]),
            _ => false,
        }
}

/// `169.254.0.0/16` and `fe80::/10`.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
