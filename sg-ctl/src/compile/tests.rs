//! The compiler against the statements of semantics.md, and its tables against the rules read literally.

use super::*;
use crate::model::{
    AddressFamily, Attachment, Direction, EntryKey, GroupId, IcmpMatch, Interface, Mode, Options, Peer,
    Peering, PeeringId, PeeringStatus, PortRange, PrefixList, PrefixListId, PrefixListState, Rule, RuleId,
    SecurityGroup, Side, Span, Tags, TimeoutSettings, Traffic, VpcId,
};
use std::{net::IpAddr, sync::Arc};

struct Fixture {
    state: State,
    vpc: VpcId,
}

fn port(from: u16, to: u16) -> PortRange {
    PortRange { from, to }
}

impl Fixture {
    fn new() -> Self {
        Self { state: State::default(), vpc: VpcId::random() }
    }

    fn group(&mut self) -> GroupId {
        let (id, vpc) = (GroupId::random(), self.vpc);
        let group =
            SecurityGroup { id, name: id.to_string(), description: String::new(), vpc, tags: Tags::new() };
        self.state.groups.insert(id, group);
        id
    }

    fn rule(&mut self, group: GroupId, direction: Direction, traffic: Traffic, peer: &str) {
        let peer = match (peer.parse(), peer.parse(), peer.parse()) {
            (Ok(net), _, _) => Peer::Ipv4(net),
            (_, Ok(net), _) => Peer::Ipv6(net),
            (_, _, Ok(group)) => Peer::Group(group),
            _ => panic!("{peer}"),
        };
        let id = RuleId::random();
        self.state.rules.insert(id, Rule::new(id, group, direction, traffic, peer));
    }

    /// A list with entries of one version; `(cidr, until)`.
    fn list(&mut self, family: AddressFamily, cidrs: &[(&str, Option<u32>)]) -> PrefixListId {
        let entry = |&(cidr, until): &(&str, Option<u32>)| {
            let key = EntryKey { cidr: cidr.parse().unwrap(), since: 1 };
            (key, Span { until, description: None })
        };
        let (id, entries) = (PrefixListId::random(), Arc::new(cidrs.iter().map(entry).collect()));
        let (name, tags) = (id.to_string(), Tags::new());
        let state = PrefixListState::default();
        let list =
            PrefixList { id, name, family, max_entries: 9, version: 2, oldest: 1, state, tags, entries };
        self.state.prefix_lists.insert(id, list);
        id
    }

    fn interface(&mut self, slot: u16, groups: &[GroupId], addresses: &[&str]) {
        let attachment = Attachment {
            slot,
            ifindex: 1,
            namespace: 0,
            mac: [0; 6],
            side: Side::Host,
            mode: Mode::Tc,
            mode_reason: String::new(),
            options: Options::default(),
            timeouts: TimeoutSettings::default(),
            attached_since: 0,
            observe_until: None,
        };
        let id = EniId::random();
        let eni = Interface {
            id,
            name: format!("eth{slot}"),
            netns: None,
            vpc: self.vpc,
            groups: groups.to_vec(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            attachment: Some(attachment),
            tags: Default::default(),
        };
        self.state.interfaces.insert(id, eni);
    }

    /// What an address may do to an interface (0), or the interface to it (1).
    fn permission(&self, slot: u16, direction: usize, address: &str) -> Permission {
        let (image, address) = (compile(&self.state), address.parse().unwrap());
        image.policies[&slot].access[Family::of(&address) as usize][direction].lookup(&image, address)
    }

    fn policy(&self, slot: u16) -> InterfacePolicy {
        compile(&self.state).policies.remove(&slot).unwrap()
    }

    fn with_t11_rules() -> (Self, GroupId) {
        let mut f = Self::new();
        let g = f.group();
        f.rule(g, Direction::Ingress, Traffic::Tcp(port(22, 22)), "203.0.113.1/32");
        f.rule(g, Direction::Ingress, Traffic::Tcp(port(80, 80)), "0.0.0.0/0");
        f.rule(g, Direction::Ingress, Traffic::Tcp(port(80, 80)), "::/0");
        f.rule(g, Direction::Ingress, Traffic::Icmp(IcmpMatch::All), "0.0.0.0/0");
        f.rule(g, Direction::Egress, Traffic::All, "0.0.0.0/0");
        f.rule(g, Direction::Egress, Traffic::All, "::/0");
        f.interface(0, &[g], &["10.0.0.1"]);
        (f, g)
    }
}

#[test]
fn trap35_t10_t11_untracked_is_what_is_open_both_ways_in_its_family() {
    let (mut f, _) = Fixture::with_t11_rules();
    let policy = f.policy(0);
    assert_eq!(policy.open_in[0][0].ranges(), [(80, 80)]);
    assert_eq!(policy.open_in[1][0].ranges(), [(80, 80)]);
    assert!(policy.open_in[0][1].is_empty(), "no UDP rule inward");
    assert!(policy.open_out.iter().flatten().all(Ports::is_empty), "inward is not open on all ports");

    f.state.rules.retain(|_, r| r.direction != Direction::Egress || !matches!(r.peer, Peer::Ipv4(_)));
    let policy = f.policy(0);
    assert!(policy.open_in[0][0].is_empty(), "IPv4 egress went: every IPv4 flow is tracked");
    assert_eq!(policy.open_in[1][0].ranges(), [(80, 80)], "IPv6 stays as it was (T-10)");
}

#[test]
fn t9_tcp_0_to_65535_counts_as_all_ports_for_tcp_only() {
    let mut f = Fixture::new();
    let g = f.group();
    f.rule(g, Direction::Ingress, Traffic::Tcp(port(80, 80)), "0.0.0.0/0");
    f.rule(g, Direction::Ingress, Traffic::Udp(port(53, 53)), "0.0.0.0/0");
    f.rule(g, Direction::Egress, Traffic::Tcp(PortRange::ALL), "0.0.0.0/0");
    f.interface(0, &[g], &[]);
    assert_eq!(f.policy(0).open_in[0][0].ranges(), [(80, 80)]);
    assert!(f.policy(0).open_in[0][1].is_empty());
}

#[test]
fn t8_halves_of_the_world_are_not_all_addresses() {
    let mut f = Fixture::new();
    let g = f.group();
    f.rule(g, Direction::Ingress, Traffic::Tcp(port(80, 80)), "0.0.0.0/1");
    f.rule(g, Direction::Ingress, Traffic::Tcp(port(80, 80)), "128.0.0.0/1");
    f.rule(g, Direction::Egress, Traffic::All, "0.0.0.0/0");
    f.interface(0, &[g], &[]);
    assert!(f.policy(0).open_in[0][0].is_empty());
}

#[test]
fn t12_open_rules_may_come_from_different_groups() {
    let mut f = Fixture::new();
    let (a, b) = (f.group(), f.group());
    f.rule(a, Direction::Ingress, Traffic::Tcp(port(80, 80)), "0.0.0.0/0");
    f.rule(b, Direction::Egress, Traffic::All, "0.0.0.0/0");
    f.interface(0, &[a, b], &[]);
    f.interface(1, &[a], &[]);
    assert!(f.policy(0).open_in[0][0].contains(80));
    assert!(f.policy(1).open_in[0][0].is_empty());
}

#[test]
fn trap28_a_reference_to_an_empty_or_unknown_group_matches_nobody() {
    let mut f = Fixture::new();
    let (g, empty) = (f.group(), f.group());
    f.rule(g, Direction::Ingress, Traffic::All, &empty.to_string());
    f.rule(g, Direction::Ingress, Traffic::All, &GroupId::random().to_string());
    f.interface(0, &[g], &["10.0.0.1"]);
    assert_eq!(f.policy(0).access[0][0].table, Table::default());
    assert!(f.permission(0, 0, "10.0.0.2").is_nothing());
}

#[test]
fn p17_a_group_reference_is_its_members_addresses() {
    let mut f = Fixture::new();
    let (g, peers) = (f.group(), f.group());
    f.rule(g, Direction::Ingress, Traffic::Tcp(port(5432, 5432)), &peers.to_string());
    f.interface(0, &[g], &["10.0.0.1"]);
    f.interface(1, &[peers], &["10.0.0.2", "fd00::2"]);
    assert!(f.permission(0, 0, "10.0.0.2").tcp.contains(5432));
    assert!(f.permission(0, 0, "fd00::2").tcp.contains(5432));
    assert!(f.permission(0, 0, "10.0.0.1").is_nothing(), "not a member (T-4)");
}

#[test]
fn r27_icmp_and_icmpv6_do_not_cover_each_other() {
    let v4_rule = Permission::of(Traffic::Icmp(IcmpMatch::All), Family::V6);
    assert!(v4_rule.icmp.is_empty());
    let v6_rule = Permission::of(Traffic::Icmpv6(IcmpMatch::Type(128)), Family::V4);
    assert!(v6_rule.is_nothing());
    let echo = Permission::of(Traffic::Icmp(IcmpMatch::Type(8)), Family::V4);
    assert_eq!(echo.icmp.ranges(), [(0x800, 0x8ff)]);
}

#[test]
fn p10_service_addresses_are_an_implied_outward_rule_that_can_be_switched_off() {
    let mut f = Fixture::new();
    let g = f.group();
    f.interface(0, &[g], &[]);
    let resolver = "169.254.169.253";
    assert!(f.permission(0, 1, resolver).udp.contains(53));
    assert!(f.permission(0, 0, resolver).is_nothing(), "nothing that starts inward is let in");
    let enis = f.state.interfaces.values_mut();
    enis.for_each(|eni| eni.attachment.as_mut().unwrap().options.no_exempt_link_local = true);
    assert!(f.permission(0, 1, resolver).is_nothing());
}

#[test]
fn interrupted_ports_are_those_that_ceased_to_be_open() {
    let (mut f, _) = Fixture::with_t11_rules();
    let before = compile(&f.state);
    f.state.rules.retain(|_, r| r.traffic != Traffic::Tcp(port(80, 80)));
    let after = compile(&f.state);
    let close = Change::between(before.clone(), after.clone());
    let open = Change::between(after, before);
    assert_eq!(close.interrupted_ports(), 1, "port 80 of both families is one port");
    assert_eq!(open.interrupted_ports(), 0);
    assert!(open.opens_ports() && !close.opens_ports());
}

/// The longest match must say what all rules together say, read one by one.
#[test]
fn tables_agree_with_the_rules_read_literally() {
    let mut seed = 7u64;
    let mut next = move |below: u64| {
        seed = sg_common::mark::mix(seed, 1);
        seed % below
    };
    for _ in 0..300 {
        let mut said = BTreeMap::<Net, Permission>::new();
        let mut rules = Vec::new();
        for _ in 0..next(12) {
            let length = [0, 1, 8, 9, 16, 24, 31, 32][next(8) as usize];
            let address = IpAddr::from([10, next(2) as u8, next(2) as u8, next(4) as u8]);
            let from = next(20) as u16;
            let permission = Permission::of(Traffic::Tcp(port(from, from + next(9) as u16)), Family::V4);
            let net = Net::new(address, length);
            said.entry(net).or_default().add(&permission);
            rules.push((net, permission));
        }
        let table = Table::new(Family::V4, &said);
        for last in 0..16u8 {
            let address = IpAddr::from([10, last & 1, last >> 1 & 1, last >> 2]);
            let mut literal = Permission::default();
            rules.iter().filter(|(net, _)| net.covers(&Net::host(address))).for_each(|(_, p)| literal.add(p));
            assert_eq!(table.lookup(address), &literal, "{address} in {rules:?}");
        }
    }
}

#[test]
fn m58_a_prefix_list_means_the_entries_of_its_newest_version() {
    let mut f = Fixture::new();
    let g = f.group();
    let list = f.list(
        AddressFamily::Ipv4,
        &[("10.0.0.0/8", None), ("192.0.2.7/32", None), ("198.51.100.0/24", Some(2))],
    );
    let id = RuleId::random();
    let rule = Rule::new(id, g, Direction::Ingress, Traffic::Tcp(port(22, 22)), Peer::PrefixList(list));
    f.state.rules.insert(id, rule);
    f.interface(0, &[g], &["10.0.0.1"]);
    let admits = |address: &str| f.permission(0, 0, address).tcp.contains(22);
    assert!(admits("10.9.9.9") && admits("192.0.2.7"));
    assert!(!admits("192.0.2.8") && !admits("198.51.100.1"), "gone since version 2");
    assert_eq!(f.policy(0).access[1][0], Access::default());
}

#[test]
fn t13_a_prefix_list_of_all_addresses_is_not_the_world() {
    let mut f = Fixture::new();
    let g = f.group();
    let list = f.list(AddressFamily::Ipv4, &[("0.0.0.0/0", None)]);
    for direction in Direction::BOTH {
        let id = RuleId::random();
        f.state.rules.insert(id, Rule::new(id, g, direction, Traffic::All, Peer::PrefixList(list)));
    }
    f.interface(0, &[g], &["10.0.0.1"]);
    let policy = f.policy(0);
    assert!(f.permission(0, 0, "198.51.100.1").tcp.is_all(), "everybody is admitted");
    assert!(
        policy.open_in.iter().flatten().chain(policy.open_out.iter().flatten()).all(Ports::is_empty),
        "and tracked"
    );
}

#[test]
fn m66_to_m70_a_group_of_a_peered_vpc_counts_while_the_peering_is_active() {
    let mut f = Fixture::new();
    let near = f.group();
    let home = std::mem::replace(&mut f.vpc, VpcId::random());
    let (far, away) = (f.group(), f.vpc);
    f.interface(1, &[far], &["10.1.0.1"]);
    f.vpc = home;
    f.interface(0, &[near], &["10.0.0.1"]);
    f.rule(near, Direction::Ingress, Traffic::Tcp(port(22, 22)), &far.to_string());
    let admits = |f: &Fixture| f.permission(0, 0, "10.1.0.1").tcp.contains(22);
    assert!(!admits(&f), "no peering");
    let id = PeeringId::random();
    for (status, admitted) in [
        (PeeringStatus::PendingAcceptance, false),
        (PeeringStatus::Active, true),
        (PeeringStatus::Deleted, false),
        (PeeringStatus::Active, true),
    ] {
        let (requester, accepter, tags) = (away, home, Tags::new());
        f.state.peerings.insert(id, Peering { id, requester, accepter, status, since: 0, tags });
        assert_eq!(admits(&f), admitted, "{status:?}");
    }
    f.state.groups.remove(&far);
    assert!(!admits(&f), "the group is gone, though its members still name it");
}

/// What the rules of slot 0's interface say of a TCP connection from this address to this local port.
fn attributed(f: &Fixture, remote: &str, destination: u16) -> Attribution {
    attributed_from(f, remote, 50_000, destination)
}

/// The same, from this remote port.
fn attributed_from(f: &Fixture, remote: &str, source: u16, destination: u16) -> Attribution {
    let (eni, how) = f.state.attached().find(|(_, how)| how.slot == 0).unwrap();
    let carried = Carried::Tcp { source, destination };
    let start = Start { direction: Direction::Ingress, remote: remote.parse().unwrap(), carried };
    attribute(&f.state, eni, &how.options, &start)
}

/// Removals with what the rules are for: their peers.
fn removals(f: &Fixture, rules: &[(RuleId, Removal)]) -> Vec<(String, Removal)> {
    let mut named: Vec<_> =
        rules.iter().map(|(id, removal)| (f.state.rules[id].peer.to_string(), *removal)).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

#[test]
fn t31_t32_t33_what_a_rules_removal_would_do_to_an_open_flow() {
    let (mut f, g) = Fixture::with_t11_rules();
    let of = |peer: &str, removal| (peer.to_owned(), removal);
    let ssh = attributed(&f, "203.0.113.1", 22);
    assert_eq!(ssh.tracking, Tracking::Tracked);
    assert_eq!(removals(&f, &ssh.rules), [of("203.0.113.1/32", Removal::KeepsTracked)]);
    assert!(ssh.return_rules.is_empty());
    assert!(!attributed(&f, "203.0.113.2", 22).admits());

    let web = attributed(&f, "203.0.113.1", 80);
    assert_eq!(web.tracking, Tracking::Untracked);
    assert_eq!(removals(&f, &web.rules), [of("0.0.0.0/0", Removal::Interrupts)]);
    assert_eq!(removals(&f, &web.return_rules), [of("0.0.0.0/0", Removal::Interrupts)]);
    // A narrow rule beside it keeps that client's flow alive, and is not what makes it untracked.
    f.rule(g, Direction::Ingress, Traffic::Tcp(port(80, 80)), "203.0.113.1/32");
    let web = attributed(&f, "203.0.113.1", 80);
    let expected = [of("0.0.0.0/0", Removal::ChangesTracking), of("203.0.113.1/32", Removal::Nothing)];
    assert_eq!(removals(&f, &web.rules), expected);
    let web = attributed(&f, "203.0.113.2", 80);
    assert_eq!(removals(&f, &web.rules), [of("0.0.0.0/0", Removal::Interrupts)]);
    // A second outbound rule that is as wide takes the first one's place.
    f.rule(g, Direction::Egress, Traffic::Tcp(PortRange::ALL), "0.0.0.0/0");
    let web = attributed(&f, "203.0.113.2", 80);
    assert_eq!(
        removals(&f, &web.return_rules),
        [of("0.0.0.0/0", Removal::Nothing), of("0.0.0.0/0", Removal::Nothing)]
    );
}

#[test]
fn p10_t33_answers_to_a_service_address_need_no_rule() {
    let (f, _) = Fixture::with_t11_rules();
    for (source, expected) in [(53, Removal::ChangesTracking), (54, Removal::Interrupts)] {
        let web = attributed_from(&f, "169.254.169.253", source, 80);
        assert_eq!(web.tracking, Tracking::Untracked);
        assert_eq!(removals(&f, &web.return_rules), [("0.0.0.0/0".to_owned(), expected)], "from {source}");
        // What starts there is admitted by rules alone.
        assert!(!web.service_address);
        assert!(!attributed_from(&f, "169.254.169.253", source, 81).admits());
    }
}

#[test]
fn a_prefix_list_and_a_group_are_named_for_whom_they_hold() {
    let mut f = Fixture::new();
    let (g, members) = (f.group(), f.group());
    let list = f.list(AddressFamily::Ipv4, &[("198.51.100.0/24", None), ("192.0.2.0/24", Some(2))]);
    f.interface(0, &[g], &["10.0.0.1"]);
    f.interface(1, &[members], &["10.0.0.2"]);
    f.rule(g, Direction::Ingress, Traffic::Tcp(port(22, 22)), &members.to_string());
    let id = RuleId::random();
    let traffic = Traffic::Tcp(port(22, 22));
    f.state.rules.insert(id, Rule::new(id, g, Direction::Ingress, traffic, Peer::PrefixList(list)));
    let from = |remote| removals(&f, &attributed(&f, remote, 22).rules);
    assert_eq!(from("10.0.0.2"), [(members.to_string(), Removal::KeepsTracked)]);
    assert_eq!(from("198.51.100.9"), [(list.to_string(), Removal::KeepsTracked)]);
    assert_eq!(from("192.0.2.9"), [], "an entry that is gone");
}
