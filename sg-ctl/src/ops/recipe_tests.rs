//! Tests of [`super`]: every row of the rule reference, written out.

use super::*;
use crate::{
    model::{AddressFamily, Tags, Vpc, VpcId},
    ops::{
        prefix_list,
        testing::{group, refused, state},
    },
};

/// The outbound rules that a group is born with.
const BORN: [&str; 2] = ["egress all 0.0.0.0/0", "egress all ::/0"];

/// Names of recipes with flags: `nfs --from db --port 80`.
fn given(line: &str) -> Given {
    let mut words = line.split_whitespace();
    let mut given = Given { recipe: words.next().unwrap().to_owned(), ..Given::default() };
    while let (Some(flag), Some(value)) = (words.next(), words.next()) {
        match flag {
            "--from" => given.from.push(value.to_owned()),
            "--to" => given.to.push(value.to_owned()),
            "--port" => given.ports.push(value.to_owned()),
            "here" => given.here = far_end(value),
            other => panic!("{other}"),
        }
    }
    given
}

/// What the rules of a group say, one line each, groups by name.
pub(crate) fn said(state: &State, of: GroupId) -> Vec<String> {
    use crate::model::{Peer, Traffic};
    let own = state.rules.values().filter(|rule| rule.group == of);
    let mut said: Vec<String> = own
        .map(|rule| {
            let direction = if rule.direction == Direction::Ingress { "ingress" } else { "egress" };
            let traffic = match (rule.traffic, rule.traffic.from_to()) {
                (Traffic::All, _) => "all".to_owned(),
                (traffic, Some((from, to))) => format!("{} {from} {to}", traffic.protocol()),
                (traffic, None) => traffic.protocol(),
            };
            let peer = match rule.peer {
                Peer::Group(id) if id == of => "itself".to_owned(),
                Peer::Group(id) => state.groups[&id].name.clone(),
                peer => peer.to_string(),
            };
            format!("{direction} {traffic} {peer}")
        })
        .collect();
    said.sort();
    said
}

/// Asserts what a group of that recipe consists of, beside the outbound rules of every group.
#[track_caller]
fn makes(line: &str, expected: &[&str]) {
    makes_all(line, &[expected, &BORN].concat());
}

/// Asserts what a group of that recipe consists of.
#[track_caller]
fn makes_all(line: &str, expected: &[&str]) {
    let (mut state, _) = state();
    group(&mut state, "clients");
    let id = create(&mut state, &group::Create::new("made", "test"), &given(line)).unwrap();
    let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(said(&state, id), expected, "{line}");
}

/// Asserts that it is refused so and changes nothing.
#[track_caller]
fn refuses(line: &str, expected: &str) {
    let (mut state, _) = state();
    let before = state.clone();
    let message = refused(create(&mut state, &group::Create::new("made", "test"), &given(line)));
    assert!(message.starts_with(expected), "{line}: {message}");
    assert_eq!(state, before);
}

#[test]
fn r1_r2_r3_r4_a_web_server() {
    let web = ["tcp 80 80 0.0.0.0/0", "tcp 80 80 ::/0", "tcp 443 443 0.0.0.0/0", "tcp 443 443 ::/0"];
    makes("web", &web.map(|rule| format!("ingress {rule}")).each_ref().map(String::as_str));
}

#[test]
fn r5_r6_r7_r8_r9_databases() {
    for (name, port) in
        [("mssql", 1433), ("mysql", 3306), ("redshift", 5439), ("postgres", 5432), ("oracle", 1521)]
    {
        let line = format!("database-{name} --from 10.0.0.0/8 --from clients --from 2001:db8::/32");
        let rule = |peer| format!("ingress tcp {port} {port} {peer}");
        let expected = ["10.0.0.0/8", "clients", "2001:db8::/32"].map(rule);
        makes(&line, &expected.each_ref().map(String::as_str));
        refuses(&format!("database-{name}"), "MissingParameter: The recipe 'database-");
    }
}

#[test]
fn r10_outbound_for_updates_alone() {
    makes_all(
        "outbound-web",
        &[
            "egress tcp 80 80 0.0.0.0/0",
            "egress tcp 80 80 ::/0",
            "egress tcp 443 443 0.0.0.0/0",
            "egress tcp 443 443 ::/0",
        ],
    );
}

#[test]
fn r11_r12_from_ones_own_computer() {
    makes("ssh-from-here here 203.0.113.1", &["ingress tcp 22 22 203.0.113.1/32"]);
    makes("ssh-from-here here 2001:db8::1", &["ingress tcp 22 22 2001:db8::1/128"]);
    makes("ssh-from-here --from 203.0.113.0/24 here 192.0.2.1", &["ingress tcp 22 22 203.0.113.0/24"]);
    makes("rdp-from-here here 203.0.113.1", &["ingress tcp 3389 3389 203.0.113.1/32"]);
    for recipe in ["ssh-from-here", "rdp-from-here"] {
        let expected =
            format!("MissingParameter: The recipe '{recipe}' needs --from, your address as a CIDR");
        refuses(recipe, &expected);
        refuses(&format!("{recipe} here nonsense"), &expected);
    }
}

#[test]
fn r13_the_same_group() {
    makes("same-group", &["ingress all itself"]);
}

#[test]
fn r14_r15_ping() {
    makes("ping here 203.0.113.1", &["ingress icmp 8 -1 203.0.113.1/32"]);
    makes("ping --from clients", &["ingress icmp 8 -1 clients"]);
    makes("ping-ipv6 --from 2001:db8::/64", &["ingress icmpv6 128 0 2001:db8::/64"]);
    refuses("ping here 2001:db8::1", "InvalidParameterValue: 2001:db8::1/128 is no IPv4 address");
    refuses("ping-ipv6 here 203.0.113.1", "InvalidParameterValue: 203.0.113.1/32 is no IPv6 address");
}

#[test]
fn r16_r17_a_dns_server() {
    makes("dns-server --from 10.0.0.0/8", &["ingress tcp 53 53 10.0.0.0/8", "ingress udp 53 53 10.0.0.0/8"]);
}

#[test]
fn r18_r19_nfs_and_its_clients() {
    makes("nfs --from clients", &["ingress tcp 2049 2049 clients"]);
    makes("nfs-client --from 203.0.113.0/24", &["ingress tcp 22 22 203.0.113.0/24"]);
}

#[test]
fn r20_r22_r24_a_load_balancer() {
    let inward = ["ingress tcp 80 80 0.0.0.0/0", "ingress icmp 3 4 0.0.0.0/0"];
    makes("load-balancer", &inward);
    makes_all("load-balancer --to clients", &[&inward[..], &["egress tcp 80 80 clients"]].concat());
    makes_all(
        "load-balancer --port 443 --port 8080-8081 --to clients",
        &[
            "ingress tcp 443 443 0.0.0.0/0",
            "ingress tcp 8080 8081 0.0.0.0/0",
            "ingress icmp 3 4 0.0.0.0/0",
            "egress tcp 443 443 clients",
            "egress tcp 8080 8081 clients",
        ],
    );
}

#[test]
fn r21_r22_r24_an_internal_load_balancer() {
    makes_all(
        "internal-load-balancer --from 10.0.0.0/16 --to clients",
        &["ingress tcp 80 80 10.0.0.0/16", "ingress icmp 3 4 10.0.0.0/16", "egress tcp 80 80 clients"],
    );
    refuses("internal-load-balancer", "MissingParameter: The recipe 'internal-load-balancer' needs --from");

    // In a VPC that has blocks these are meant; IPv4's ICMP only from those of IPv4.
    let (mut state, _) = state();
    let id = VpcId::random();
    let cidrs = vec!["10.0.0.0/16".parse().unwrap(), "2001:db8::/56".parse().unwrap()];
    state.vpcs.insert(id, Vpc { id, is_default: false, cidrs, tags: Tags::new() });
    let request = group::Create { vpc: Some(id.to_string()), ..group::Create::new("made", "test") };
    let made = create(&mut state, &request, &given("internal-load-balancer")).unwrap();
    let inward: Vec<_> = said(&state, made).into_iter().filter(|rule| rule.starts_with("ingress")).collect();
    assert_eq!(
        inward,
        ["ingress icmp 3 4 10.0.0.0/16", "ingress tcp 80 80 10.0.0.0/16", "ingress tcp 80 80 2001:db8::/56"]
    );
}

#[test]
fn r23_r24_an_instance_behind_a_load_balancer() {
    makes(
        "load-balanced --from clients --port 80 --port 8080",
        &["ingress tcp 80 80 clients", "ingress tcp 8080 8080 clients", "ingress icmp 3 4 clients"],
    );
}

#[test]
fn r25_a_group_of_a_peered_vpc() {
    makes_all("peer-vpc --from clients", &["ingress all clients", "egress all clients"]);
}

#[test]
fn r26_from_the_web_tier_to_the_databases() {
    makes_all(
        "database-client --to clients",
        &["egress tcp 1433 1433 clients", "egress tcp 3306 3306 clients"],
    );
    refuses("database-client", "MissingParameter: The recipe 'database-client' needs --to");
}

#[test]
fn r18_the_clients_may_be_a_prefix_list() {
    let (mut state, _) = state();
    let offices = prefix_list::Create {
        name: "offices".to_owned(),
        family: AddressFamily::Ipv4,
        max_entries: "5".to_owned(),
        entries: Vec::new(),
        tags: Vec::new(),
    };
    let list = prefix_list::create(&mut state, &offices).unwrap();
    let line = format!("nfs --from {list} --from 10.0.0.0/8 --from default");
    let id = create(&mut state, &group::Create::new("made", "test"), &given(&line)).unwrap();
    let rule = |peer: &str| format!("ingress tcp 2049 2049 {peer}");
    for peer in [list.to_string().as_str(), "10.0.0.0/8", "default"] {
        assert!(said(&state, id).contains(&rule(peer)), "{peer}");
    }
    refuses("nfs --from pl-12345678", "InvalidPrefixListID.NotFound: ");
}

#[test]
fn a_recipe_takes_what_it_has_a_use_for_and_is_all_or_nothing() {
    for flag in ["--from 10.0.0.0/8", "--to 10.0.0.0/8", "--port 80"] {
        refuses(&format!("web {flag}"), "InvalidParameterCombination: The recipe 'web' takes no --");
    }
    refuses("nfs --from nosuch", "InvalidGroup.NotFound: ");
    refuses(
        "nfs --from 10.0.0.1",
        "InvalidParameterValue: CIDR block 10.0.0.1 is malformed; write 10.0.0.1/32",
    );
    refuses("nfs --from 10.0.0.0/8 --from 10.0.0.0/99", "InvalidParameterValue: CIDR block 10.0.0.0/99");
    refuses("load-balancer --port 80 --port 80", "InvalidPermission.Duplicate: ");
    refuses("load-balancer --port 80 --port ssh", "InvalidParameterValue: ");
    refuses(
        "databse-mysql",
        "InvalidParameterValue: There is no recipe 'databse-mysql'; did you mean 'database-mysql'?",
    );
}

#[test]
fn the_far_end_of_an_ssh_session_is_its_first_word() {
    let read = |text: &str| far_end(text).map(|address| address.to_string());
    assert_eq!(read("203.0.113.1 50000 203.0.113.10 22").as_deref(), Some("203.0.113.1"));
    assert_eq!(read("2001:db8::1 50000 22").as_deref(), Some("2001:db8::1"));
    assert_eq!(read("fe80::1%eth0 50000 22").as_deref(), Some("fe80::1"));
    assert_eq!(read("::ffff:203.0.113.1 50000 22").as_deref(), Some("203.0.113.1"));
    assert_eq!(read("UNKNOWN 50000 22"), None);
    assert_eq!(read(""), None);
}
