//! What lives on and what is cut when rules and groups change under open connections (T-31 to T-37, P-2 to P-4).

use serde_json::Value;
use sg_tests::{
    ctl::{Lab, expect_counts},
    net::{ANSWER, Connection, FAMILIES, Family, IFACE, SILENCE, V4, V6, refuses_port},
};

const NONE: [Value; 0] = [];
const SSH: &str = "ingress --protocol tcp --port 22 --cidr 203.0.113.1/32 --cidr 2001:db8::1/128";

/// The packets that were judged for one reason.
fn of(counted: &[(String, u64)], reason: &str) -> u64 {
    counted.iter().find(|(name, _)| name == reason).map_or(0, |(_, packets)| *packets)
}

#[test]
fn t31_an_untracked_tcp_connection_is_cut_when_its_rule_goes_v4() {
    untracked_tcp_is_cut(V4);
}

#[test]
fn t31_an_untracked_tcp_connection_is_cut_when_its_rule_goes_v6() {
    untracked_tcp_is_cut(V6);
}

fn untracked_tcp_is_cut(family: Family) {
    let lab = Lab::attached(&["ingress --protocol tcp --port 80 --cidr 0.0.0.0/0 --cidr ::/0"]);
    let mut web = lab.connect(family.other, family.host, 80);
    web.goes_on();
    let removed = lab.remove(&format!("ingress --protocol tcp --port 80 --cidr {}", family.world));
    assert_eq!(removed["interrupted_ports"], 1, "{removed}");
    // The server that keeps sending opens nothing.
    let ((), counted) = lab.ctl.counting(|| web.is_cut_forward());
    assert!(
        of(&counted, "egress.stateless") > 0,
        "what the server sends leaves by the outbound rule: {counted:?}"
    );
    assert!(of(&counted, "ingress.no_connection") > 0, "{counted:?}");
    assert!(
        counted
            .iter()
            .all(|(reason, _)| ["egress.stateless", "ingress.no_connection"].contains(&reason.as_str())),
        "{counted:?}"
    );
    assert_eq!(lab.ctl.flows(), NONE);
    lab.refuses(family.other, family.host, 80);
    let still_open = if family.host == V4.host { V6 } else { V4 };
    lab.connect(still_open.other, still_open.host, 80).goes_on();
}

#[test]
fn t31_p3_an_untracked_tcp_connection_is_cut_when_the_outbound_rule_goes() {
    let lab = Lab::attached(&["ingress --protocol tcp --port 80 --cidr 0.0.0.0/0 --cidr ::/0"]);
    for family in FAMILIES {
        let mut web = lab.connect(family.other, family.host, 80);
        web.goes_on();
        lab.remove(&format!("egress --protocol all --cidr {}", family.world));
        let ((), counted) = lab.ctl.counting(|| web.is_cut_back());
        assert!(of(&counted, "egress.no_connection") > 0, "the answers have no entry: {counted:?}");
        assert!(of(&counted, "ingress.stateless") > 0, "the port is still open: {counted:?}");
        assert_eq!(lab.ctl.flows(), NONE, "segments without SYN make no entry");
        drop(web);
        // What starts anew is tracked, and so its answers leave.
        lab.connect(family.other, family.host, 80).goes_on();
        lab.ctl.add_rules("web", &[&format!("egress --protocol all --cidr {}", family.world)]);
    }
}

#[test]
fn t31_p3_untracked_udp_is_cut_and_the_server_cannot_revive_it() {
    let lab = Lab::attached(&["ingress --protocol udp --port 53 --cidr 0.0.0.0/0 --cidr ::/0"]);
    for family in FAMILIES {
        let mut dns = lab.datagrams(family.other, family.host, 53);
        dns.answers();
        let removed = lab.remove(&format!("ingress --protocol udp --port 53 --cidr {}", family.world));
        assert_eq!(removed["interrupted_ports"], 1, "{removed}");
        let talk = || {
            dns.refused();
            for _ in 0..5 {
                assert!(dns.back(ANSWER), "the outbound rule lets the server's packets leave");
            }
            dns.refused();
        };
        let ((), counted) = lab.ctl.counting(talk);
        expect_counts(&counted, &[("ingress.no_rule", 2), ("egress.stateless", 5)]);
        assert_eq!(lab.ctl.flows(), NONE);
    }
}

#[test]
fn t33_untracked_udp_is_tracked_from_its_next_packet_when_the_outbound_rule_goes() {
    let lab = Lab::attached(&["ingress --protocol udp --port 53 --cidr 0.0.0.0/0"]);
    let mut dns = lab.datagrams(V4.other, V4.host, 53);
    dns.answers();
    lab.remove("egress --protocol all --cidr 0.0.0.0/0");
    // The answering end alone has no entry to answer by.
    let (arrived, counted) = lab.ctl.counting(|| dns.back(SILENCE));
    assert!(!arrived, "an answer leaves without outbound rule and entry");
    expect_counts(&counted, &[("egress.no_rule", 1)]);
    let ((), counted) = lab.ctl.counting(|| dns.answers());
    expect_counts(&counted, &[("ingress.new", 1), ("egress.tracked", 1)]);
}

#[test]
fn t32_a_tracked_tcp_connection_outlives_its_rule() {
    let lab = Lab::attached(&[SSH]);
    for family in FAMILIES {
        let mut ssh = lab.connect(family.admin, family.host, 22);
        ssh.goes_on();
        let removed = lab.remove(&format!("ingress --protocol tcp --port 22 --cidr {}", family.narrow));
        assert_eq!(removed["interrupted_ports"], 0, "{removed}");
        let ((), counted) = lab.ctl.counting(|| ssh.goes_on());
        assert!(counted.iter().all(|(reason, _)| reason.ends_with(".tracked")), "{counted:?}");
        let ((), counted) = lab.ctl.counting(|| lab.refuses(family.admin, family.host, 22));
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
        ssh.goes_on();
    }
}

#[test]
fn t32_a_tracked_tcp_connection_outlives_the_narrowing_of_its_rule_and_of_the_outbound_ones() {
    let lab = Lab::attached(&["ingress --protocol tcp --port 22 --cidr 203.0.113.0/24"]);
    let mut ssh = lab.connect(V4.other, V4.host, 22);
    lab.ctl.add_rules("web", &["ingress --protocol tcp --port 22 --cidr 203.0.113.1/32"]);
    lab.remove("ingress --protocol tcp --port 22 --cidr 203.0.113.0/24");
    lab.remove("egress --protocol all --cidr 0.0.0.0/0");
    ssh.goes_on();
    lab.refuses(V4.other, V4.host, 22);
    lab.connect(V4.admin, V4.host, 22).goes_on();
}

#[test]
fn p4_a_revoked_client_does_not_come_back_by_reusing_its_port() {
    let lab = Lab::attached(&[SSH]);
    for family in FAMILIES {
        let mut ssh = lab.connect(family.admin, family.host, 22);
        ssh.goes_on();
        let rule = format!("ingress --protocol tcp --port 22 --cidr {}", family.narrow);
        lab.remove(&rule);
        ssh.goes_on();
        let from = ssh.reset();
        // The entry of the old connection is still there.
        let flows = lab.ctl.flows();
        assert!(flows.iter().any(|flow| flow["remote_port"] == from.port()), "{flows:#?}");
        let to = (family.host, 22).into();
        let ((), counted) = lab.ctl.counting(|| refuses_port(&lab.client, from, &lab.host, to));
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
        // Admitted again, it is a new connection on the old port.
        lab.ctl.add_rules("web", &[&rule]);
        let (mut again, counted) =
            lab.ctl.counting(|| Connection::open_port(&lab.client, from, &lab.host, to));
        expect_counts(&counted, &[("ingress.new", 1), ("ingress.tracked", 1), ("egress.tracked", 1)]);
        again.goes_on();
    }
}

#[test]
fn t32_tracked_udp_outlives_its_rule() {
    let lab =
        Lab::attached(&["ingress --protocol udp --port 53 --cidr 203.0.113.1/32 --cidr 2001:db8::1/128"]);
    for family in FAMILIES {
        let mut dns = lab.datagrams(family.admin, family.host, 53);
        dns.answers();
        lab.remove(&format!("ingress --protocol udp --port 53 --cidr {}", family.narrow));
        let ((), counted) = lab.ctl.counting(|| dns.answers());
        expect_counts(&counted, &[("ingress.tracked", 1), ("egress.tracked", 1)]);
        drop(dns);
        lab.datagrams(family.admin, family.host, 53).refused();
    }
}

#[test]
fn p3_segments_that_another_rule_admits_go_on_without_state() {
    let lab = Lab::attached(&["ingress --protocol tcp --port 80 --cidr 0.0.0.0/0"]);
    let (mut admin, mut other) = (lab.connect(V4.admin, V4.host, 80), lab.connect(V4.other, V4.host, 80));
    lab.ctl.add_rules("web", &["ingress --protocol tcp --port 80 --cidr 203.0.113.1/32"]);
    lab.remove("ingress --protocol tcp --port 80 --cidr 0.0.0.0/0");
    let ((), counted) = lab.ctl.counting(|| admin.goes_on());
    assert!(counted.iter().all(|(reason, _)| reason.ends_with(".stateless")), "{counted:?}");
    assert_eq!(lab.ctl.flows(), NONE);
    other.is_cut_forward();
    // Its rule is all that it has.
    lab.remove("ingress --protocol tcp --port 80 --cidr 203.0.113.1/32");
    admin.is_cut_forward();
}

#[test]
fn p2_own_connections_are_tracked_and_outlive_an_open_range_of_ephemeral_ports() {
    let lab = Lab::attached(&["ingress --protocol tcp --port 1024-65535 --cidr 0.0.0.0/0 --cidr ::/0"]);
    for family in FAMILIES {
        let (mut own, counted) = lab.ctl.counting(|| lab.connect_out(family.host, family.admin, 443));
        expect_counts(&counted, &[("egress.new", 1), ("egress.tracked", 1), ("ingress.tracked", 1)]);
        let mut served = lab.connect(family.other, family.host, 8080);
        served.goes_on();
        let flows = lab.ctl.flows();
        assert_eq!(flows.iter().filter(|flow| flow["local_port"] == 8080).count(), 0, "{flows:#?}");
        let own_flow = flows.iter().find(|flow| flow["local_port"] == own.near_port()).expect("the own one");
        assert_eq!((&own_flow["initiated"], &own_flow["state"]), (&"egress".into(), &"established".into()));

        lab.remove(&format!("ingress --protocol tcp --port 1024-65535 --cidr {}", family.world));
        own.goes_on();
        served.is_cut_forward();
        own.goes_on();
    }
}

#[test]
fn p3_the_hosts_new_query_is_answered_at_once_after_all_ports_were_closed() {
    let lab = Lab::attached(&[
        "ingress --protocol udp --port 0-65535 --cidr 0.0.0.0/0 --cidr ::/0",
        "ingress --protocol tcp --port 0-65535 --cidr 0.0.0.0/0 --cidr ::/0",
    ]);
    for family in FAMILIES {
        let (mut inward, mut own_old) = (
            lab.datagrams(family.other, family.host, 5353),
            lab.datagrams_out(family.host, family.admin, 5354),
        );
        inward.answers();
        own_old.answers();
        assert_eq!(lab.ctl.flows(), NONE);
        for protocol in ["udp", "tcp"] {
            lab.remove(&format!("ingress --protocol {protocol} --port 0-65535 --cidr {}", family.world));
        }
        let mut query = lab.datagrams_out(family.host, family.admin, 53);
        let ((), counted) = lab.ctl.counting(|| query.answers());
        expect_counts(&counted, &[("egress.new", 1), ("ingress.tracked", 1)]);
        let ((), counted) = lab.ctl.counting(|| lab.connect_out(family.host, family.admin, 443).goes_on());
        assert_eq!(of(&counted, "egress.new"), 1, "{counted:?}");
        inward.refused();
        assert!(inward.back(ANSWER));
        inward.refused();
        assert_eq!(lab.ctl.flows().iter().filter(|flow| flow["local_port"] == 5353).count(), 0);
        drop((inward, own_old, query));
        lab.ctl.add_rules(
            "web",
            &[
                &format!("ingress --protocol udp --port 0-65535 --cidr {}", family.world),
                &format!("ingress --protocol tcp --port 0-65535 --cidr {}", family.world),
            ],
        );
    }
}

#[test]
fn t33_own_untracked_udp_goes_on_as_tracked_when_the_inward_rules_go() {
    // Started outward under P-2 (b), and still admitted as new: its next packet in that direction makes an entry.
    let lab = Lab::attached(&["ingress --protocol all --cidr 0.0.0.0/0"]);
    let mut own = lab.datagrams_out(V4.host, V4.admin, 5354);
    let ((), counted) = lab.ctl.counting(|| own.answers());
    expect_counts(&counted, &[("egress.untracked", 1), ("ingress.untracked", 1)]);
    lab.remove("ingress --protocol all --cidr 0.0.0.0/0");
    let (arrived, counted) = lab.ctl.counting(|| own.back(SILENCE));
    assert!(!arrived, "the answering end carries an untracked flow on");
    expect_counts(&counted, &[("ingress.no_rule", 1)]);
    let ((), counted) = lab.ctl.counting(|| own.answers());
    expect_counts(&counted, &[("egress.new", 1), ("ingress.tracked", 1)]);
}

#[test]
fn t34_tracked_connections_outlive_a_change_of_groups() {
    let lab = Lab::attached(&[SSH]);
    lab.ctl.bare_group("isolated", &[]);
    for family in FAMILIES {
        let (mut ssh, mut own) =
            (lab.connect(family.admin, family.host, 22), lab.connect_out(family.host, family.other, 443));
        lab.ctl.json(&format!("interface set-groups {IFACE} isolated"));
        ssh.goes_on();
        own.goes_on();
        lab.refuses(family.admin, family.host, 22);
        sg_tests::net::refuses(&lab.host, family.host, &lab.client, (family.admin, 443).into());
        lab.ctl.json(&format!("interface set-groups {IFACE} web"));
        lab.connect(family.admin, family.host, 22).goes_on();
    }
}

#[test]
fn t36_flush_cuts_the_tracked_connections_that_no_rule_admits_and_no_others() {
    let lab = Lab::attached_bare(&[SSH]);
    for family in FAMILIES {
        let (mut old, mut kept) =
            (lab.connect(family.admin, family.host, 22), lab.connect(family.admin, family.host, 22));
        let mut dns = lab.datagrams(family.admin, family.host, 53);
        dns.refused();
        // Filters that mean none of them.
        for filter in ["--protocol udp", "--remote 192.0.2.0/24", &format!("--remote {}", family.other)] {
            assert_eq!(lab.ctl.json(&format!("conntrack flush {IFACE} {filter}"))["flushed"], 0, "{filter}");
        }
        old.goes_on();
        // Rules admit each packet inward, and none outward: without its entry the server cannot answer.
        let flushed =
            lab.ctl.json(&format!("conntrack flush {IFACE} --protocol tcp --remote {}", family.admin));
        assert_eq!(flushed["flushed"], 2);
        assert_eq!(lab.ctl.flows(), NONE);
        old.is_cut_back();
        kept.is_cut_back();
        lab.connect(family.admin, family.host, 22).goes_on();
        lab.ctl.json("conntrack flush");
        assert_eq!(lab.ctl.flows(), NONE);
    }
}

#[test]
fn t31_t34_untracked_connections_are_cut_by_a_change_of_groups() {
    let lab = Lab::attached(&["ingress --protocol tcp --port 80 --cidr 0.0.0.0/0"]);
    lab.ctl.bare_group("isolated", &[]);
    let mut web = lab.connect(V4.other, V4.host, 80);
    web.goes_on();
    lab.ctl.json(&format!("interface set-groups {IFACE} isolated"));
    web.is_cut_forward();
    web.is_cut_back();
    assert_eq!(lab.ctl.flows(), NONE);
}

#[test]
fn p3a_a_flow_that_became_untracked_has_no_claim_on_its_old_entry_though_it_was_silent() {
    containment(false);
}

#[test]
fn p3a_a_flow_that_became_untracked_has_no_claim_on_its_old_entry_after_it_spoke() {
    containment(true);
}

/// The containment procedure of T-34: open to the world both ways, then an empty group.
fn containment(speaks_between: bool) {
    let lab =
        Lab::attached(&["ingress --protocol tcp --port 443 --cidr 203.0.113.1/32 --cidr 2001:db8::1/128"]);
    lab.ctl.group("open", &["ingress --protocol all --cidr 0.0.0.0/0 --cidr ::/0"]);
    lab.ctl.bare_group("isolated", &[]);
    for family in FAMILIES {
        let mut tracked = lab.connect(family.admin, family.host, 443);
        tracked.goes_on();
        assert_eq!(lab.ctl.flows().iter().filter(|flow| flow["state"] == "established").count(), 1);
        lab.ctl.json(&format!("interface set-groups {IFACE} open"));
        assert_eq!(lab.ctl.flows(), NONE, "the entry is void");
        if speaks_between {
            let ((), counted) = lab.ctl.counting(|| tracked.goes_on());
            assert!(counted.iter().all(|(reason, _)| reason.ends_with(".untracked")), "{counted:?}");
        }
        lab.ctl.json(&format!("interface set-groups {IFACE} isolated"));
        tracked.is_cut_forward();
        tracked.is_cut_back();
        assert_eq!(lab.ctl.flows(), NONE);
        drop(tracked);
        lab.ctl.json(&format!("interface set-groups {IFACE} web"));
    }
}

#[test]
fn t37_a_ping_goes_on_after_its_rule_is_removed() {
    let lab =
        Lab::attached(&["ingress --protocol icmp --cidr 0.0.0.0/0", "ingress --protocol icmpv6 --cidr ::/0"]);
    for family in FAMILIES {
        let mut ping = lab.ping(family.admin, family.host);
        ping.answers();
        lab.remove(&format!("ingress --protocol {} --cidr {}", family.icmp, family.world));
        for _ in 0..3 {
            let ((), counted) = lab.ctl.counting(|| ping.answers());
            expect_counts(&counted, &[("ingress.tracked", 1), ("egress.tracked", 1)]);
        }
        let ((), counted) = lab.ctl.counting(|| lab.ping(family.admin, family.host).refused());
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
    }
}

#[test]
fn t16_the_hosts_own_ping_is_answered_without_inward_rule() {
    let lab = Lab::attached(&[]);
    for family in FAMILIES {
        let mut ping = sg_tests::net::Ping::new(&lab.host, family.host, family.admin);
        let ((), counted) = lab.ctl.counting(|| ping.answers());
        expect_counts(&counted, &[("egress.new", 1), ("ingress.tracked", 1)]);
    }
}

#[test]
fn t6_a_command_returns_when_its_change_is_enforced() {
    let lab = Lab::attached(&[]);
    for _ in 0..10 {
        lab.ctl.add_rules("web", &["ingress --protocol udp --port 53 --cidr 0.0.0.0/0"]);
        let mut dns = lab.datagrams(V4.other, V4.host, 53);
        let ((), counted) = lab.ctl.counting(|| assert!(dns.forward(ANSWER)));
        expect_counts(&counted, &[("ingress.untracked", 1)]);
        lab.remove("ingress --protocol udp --port 53 --cidr 0.0.0.0/0");
        let (_, counted) = lab.ctl.counting(|| dns.forward(SILENCE / 30));
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
    }
}
