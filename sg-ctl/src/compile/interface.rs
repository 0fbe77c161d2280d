//! One interface: the rules of all its groups, added up (T-1).

use super::{Access, Family, InterfacePolicy, List, Net, Permission, Ports, Table};
use crate::model::{
    AddressFamily, Attachment, Direction, GroupId, Interface, Peer, PortRange, PrefixList, PrefixListId,
    Rule, State, Traffic, VpcId,
};
use sg_common::policy::INLINE_LISTS;
use std::{
    collections::BTreeMap,
    iter,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The interface's policy under the state.
pub fn compile(state: &State, eni: &Interface, attachment: &Attachment) -> InterfacePolicy {
    let rules: Vec<&Rule> = eni.groups.iter().flat_map(|group| state.rules.of_group(*group)).collect();
    let access = Family::BOTH.map(|family| {
        Direction::BOTH.map(|direction| {
            let rules = rules.iter().copied().filter(|rule| rule.direction == direction);
            let services = direction == Direction::Egress && !attachment.options.no_exempt_link_local;
            access(state, eni.vpc, rules, family, services)
        })
    });
    let track_all = attachment.options.force_track;
    let open = |from: Direction, back: Direction| {
        Family::BOTH.map(|family| {
            [IpProtocol::Tcp, IpProtocol::Udp].map(|protocol| {
                if track_all || !answers_are_open(&rules, back, family, protocol) {
                    return Ports::NONE;
                }
                world_ports(&rules, from, family, protocol)
            })
        })
    };
    InterfacePolicy {
        eni: eni.id,
        access,
        open_in: open(Direction::Ingress, Direction::Egress),
        open_out: open(Direction::Egress, Direction::Ingress),
        locals: eni.addresses.clone(),
        options: attachment.options,
        timeouts: attachment.timeouts.in_force(),
        observe_until: attachment.observe_until,
    }
}

/// What rules of one group admit by themselves, in one direction and family, to an interface of that VPC.
pub fn admitted_by(
    state: &State,
    vpc: VpcId,
    rules: &[&Rule],
    direction: Direction,
    family: Family,
) -> Table {
    Table::new(family, &said_by_rules(state, vpc, rules, direction, family))
}

/// What rules of one direction permit to whom, `services` among them.
fn access<'a>(
    state: &State,
    vpc: VpcId,
    rules: impl Iterator<Item = &'a Rule>,
    family: Family,
    services: bool,
) -> Access {
    let mut said = BTreeMap::<Net, Permission>::new();
    let mut access = Access::default();
    for rule in rules {
        let permission = Permission::of(rule.traffic, family);
        match rule.peer {
            Peer::Ipv4(_) | Peer::Ipv6(_) => meant(state, vpc, rule.peer, family)
                .for_each(|net| said.entry(net).or_default().add(&permission)),
            Peer::Group(group) if is_in_reach(state, vpc, group) => {
                access.groups.entry(group).or_default().add(&permission);
            }
            Peer::PrefixList(list) if is_of(state, list, family) => {
                access.lists.entry(list).or_default().add(&permission);
            }
            // Stale, or of the other family.
            Peer::Group(_) | Peer::PrefixList(_) => {}
        }
    }
    access.groups.retain(|_, permission| !permission.is_nothing());
    access.lists.retain(|_, permission| !permission.is_nothing());
    // A row has room for a few lists.
    while access.lists.len() > INLINE_LISTS
        && let Some((list, permission)) = access.lists.pop_last()
    {
        let nets = entries(state, list, family);
        nets.for_each(|net| said.entry(net).or_default().add(&permission));
    }
    if services {
        add_service_addresses(&mut said, family);
    }
    access.table = Table::new(family, &said);
    access
}

/// What the rules of a direction say of the prefixes that they name, groups and lists among them.
fn said_by_rules(
    state: &State,
    vpc: VpcId,
    rules: &[&Rule],
    direction: Direction,
    family: Family,
) -> BTreeMap<Net, Permission> {
    let mut said = BTreeMap::<Net, Permission>::new();
    for rule in rules.iter().filter(|rule| rule.direction == direction) {
        let permission = Permission::of(rule.traffic, family);
        meant(state, vpc, rule.peer, family).for_each(|net| said.entry(net).or_default().add(&permission));
    }
    said
}

/// Whether there is such a list, of that family.
fn is_of(state: &State, list: PrefixListId, family: Family) -> bool {
    state.prefix_lists.get(&list).is_some_and(|list| List::from(list).family == family)
}

/// The prefixes of a family that a peer means in rules of a VPC's groups.
pub fn meant(state: &State, vpc: VpcId, peer: Peer, family: Family) -> Box<dyn Iterator<Item = Net> + '_> {
    match peer {
        Peer::Ipv4(net) if family == Family::V4 => {
            Box::new(iter::once(Net::new(net.addr().into(), net.prefix_len())))
        }
        Peer::Ipv6(net) if family == Family::V6 => {
            Box::new(iter::once(Net::new(net.addr().into(), net.prefix_len())))
        }
        Peer::Group(group) if is_in_reach(state, vpc, group) => Box::new(
            members(state, group).filter(move |address| Family::of(address) == family).map(Net::host),
        ),
        Peer::PrefixList(list) => Box::new(entries(state, list, family)),
        // Of the other family; or stale, which matches nobody (M-69).
        Peer::Ipv4(_) | Peer::Ipv6(_) | Peer::Group(_) => Box::new(iter::empty()),
    }
}

/// Whether rules of a VPC's groups mean anybody by the group: it exists, here or behind an active peering (M-66 to M-70).
pub fn is_in_reach(state: &State, vpc: VpcId, group: GroupId) -> bool {
    state.groups.get(&group).is_some_and(|group| state.may_reference(vpc, group.vpc))
}

/// What a reference to the group means: the addresses of the interfaces in it (T-42, P-17). None is nobody.
pub fn members(state: &State, group: GroupId) -> impl Iterator<Item = IpAddr> {
    state
        .interfaces
        .values()
        .filter(move |eni| eni.groups.contains(&group))
        .flat_map(|eni| eni.addresses.iter().copied())
}

/// What a reference to the list means: the entries of its newest version, which are all of one family (M-51, M-58).
fn entries(state: &State, list: PrefixListId, family: Family) -> impl Iterator<Item = Net> {
    let list = state.prefix_lists.get(&list).filter(|list| match list.family {
        AddressFamily::Ipv4 => family == Family::V4,
        AddressFamily::Ipv6 => family == Family::V6,
    });
    list.into_iter().flat_map(PrefixList::current).map(|(cidr, _)| Net::new(cidr.addr(), cidr.prefix_len()))
}

/// The two protocols that can be untracked.
#[derive(Clone, Copy)]
pub enum IpProtocol {
    Tcp,
    Udp,
}

/// The ports of that protocol in a rule; every port in a rule for all traffic.
pub fn ports(rule: &Rule, protocol: IpProtocol) -> Option<PortRange> {
    match (rule.traffic, protocol) {
        (Traffic::All, _) => Some(PortRange::ALL),
        (Traffic::Tcp(range), IpProtocol::Tcp) | (Traffic::Udp(range), IpProtocol::Udp) => Some(range),
        _ => None,
    }
}

/// Whether the rule's peer is written as `0.0.0.0/0` or `::/0`. Nothing else counts, whatever it holds (P-2, T-13).
pub fn is_world(rule: &Rule, family: Family) -> bool {
    match rule.peer {
        Peer::Ipv4(net) => family == Family::V4 && net.prefix_len() == 0,
        Peer::Ipv6(net) => family == Family::V6 && net.prefix_len() == 0,
        Peer::Group(_) | Peer::PrefixList(_) => false,
    }
}

/// Ports that the rules of a direction open to all addresses.
fn world_ports(rules: &[&Rule], direction: Direction, family: Family, protocol: IpProtocol) -> Ports {
    let mut open = Ports::NONE;
    for rule in rules.iter().filter(|rule| rule.direction == direction && is_world(rule, family)) {
        if let Some(range) = ports(rule, protocol) {
            open.add(&Ports::range(range.from, range.to));
        }
    }
    open
}

/// Whether one rule of a direction admits that protocol from or to all addresses on all ports (T-8c).
fn answers_are_open(rules: &[&Rule], direction: Direction, family: Family, protocol: IpProtocol) -> bool {
    rules.iter().any(|rule| opens_answers(rule, direction, family, protocol))
}

/// Whether this rule does.
pub fn opens_answers(rule: &Rule, direction: Direction, family: Family, protocol: IpProtocol) -> bool {
    rule.direction == direction && is_world(rule, family) && ports(rule, protocol) == Some(PortRange::ALL)
}

/// Adds the service addresses to what the outward rules say.
fn add_service_addresses(said: &mut BTreeMap<Net, Permission>, family: Family) {
    for (address, traffic) in services() {
        if Family::of(&address) == family {
            said.entry(Net::host(address)).or_default().add(&Permission::of(traffic, family));
        }
    }
}

/// The service addresses of section N, an implied outward rule that is tracked like any flow (P-10).
pub fn services() -> [(IpAddr, Traffic); 11] {
    let port = |port| PortRange { from: port, to: port };
    let link_local = |c, d| IpAddr::V4(Ipv4Addr::new(169, 254, c, d));
    let ec2 = |last| IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, last));
    [
        (link_local(169, 253), Traffic::Tcp(port(53))),
        (link_local(169, 253), Traffic::Udp(port(53))),
        (ec2(0x253), Traffic::Tcp(port(53))),
        (ec2(0x253), Traffic::Udp(port(53))),
        (link_local(169, 254), Traffic::Tcp(port(80))),
        (ec2(0x254), Traffic::Tcp(port(80))),
        (link_local(170, 2), Traffic::Tcp(port(80))),
        (link_local(169, 250), Traffic::Tcp(port(1688))),
        (link_local(169, 251), Traffic::Tcp(port(1688))),
        (link_local(169, 123), Traffic::Udp(port(123))),
        (ec2(0x123), Traffic::Udp(port(123))),
    ]
}
