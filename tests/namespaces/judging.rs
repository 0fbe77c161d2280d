//! What gets through and what does not, tracked or untracked: real sockets against the shipped programs.
//! The numbers in the names are those of `semantics.md`.

use serde_json::Value;
use sg_tests::{
    ctl::{Lab, expect_counts},
    net::{ADMIN4, ADMIN6, ANSWER, FAMILIES, HOST4, HOST6, IFACE, PEER, SILENCE, V4, V6},
};

/// The worked example of T-11, with its IPv6 counterparts.
const EXAMPLE: [&str; 3] = [
    "ingress --protocol tcp --port 22 --cidr 203.0.113.1/32 --cidr 2001:db8::1/128",
    "ingress --protocol tcp --port 80 --cidr 0.0.0.0/0 --cidr ::/0",
    "ingress --protocol icmp --cidr 0.0.0.0/0",
];
/// A handshake of a tracked connection: the SYN makes the entry.
const TRACKED: [(&str, u64); 3] = [("ingress.new", 1), ("ingress.tracked", 1), ("egress.tracked", 1)];
/// A handshake of an untracked one.
const UNTRACKED: [(&str, u64); 2] = [("ingress.untracked", 2), ("egress.untracked", 1)];

/// The one flow that there is.
#[track_caller]
fn only_flow(lab: &Lab) -> Value {
    let flows = lab.ctl.flows();
    assert_eq!(flows.len(), 1, "{flows:#?}");
    flows[0].clone()
}

#[test]
fn t11_tcp_22_is_tracked() {
    let lab = Lab::attached(&EXAMPLE);
    for family in FAMILIES {
        let (mut ssh, counted) = lab.ctl.counting(|| lab.connect(family.admin, family.host, 22));
        expect_counts(&counted, &TRACKED);
        ssh.goes_on();
        let flows = lab.ctl.flows();
        let flow = flows.iter().find(|flow| flow["local"] == family.host.to_string()).expect("the flow");
        assert_eq!(flow["interface"], IFACE);
        assert_eq!(flow["protocol"], "tcp");
        assert_eq!(flow["local_port"], 22);
        assert_eq!(flow["remote"], family.admin.to_string());
        assert_eq!(flow["remote_port"], ssh.near_port());
        assert_eq!(flow["initiated"], "ingress");
        assert_eq!(flow["state"], "established");
        assert!(flow["packets"].as_u64() >= Some(5), "{flow}");
        let left = flow["expires_in_seconds"].as_u64().expect("a number");
        assert!((431_990..=432_000).contains(&left), "T-19 says 432,000 s, not {left}");

        let ((), counted) = lab.ctl.counting(|| lab.refuses(family.other, family.host, 22));
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
    }
    assert_eq!(lab.ctl.json("counters")["conntrack"]["tracked"], lab.ctl.flows().len());
}

#[test]
fn t11_tcp_80_over_ipv4_is_untracked() {
    tcp_80_is_untracked(V4);
}

#[test]
fn t11_tcp_80_over_ipv6_is_untracked() {
    tcp_80_is_untracked(V6);
}

fn tcp_80_is_untracked(family: sg_tests::net::Family) {
    let lab = Lab::attached(&EXAMPLE);
    let (mut web, counted) = lab.ctl.counting(|| lab.connect(family.other, family.host, 80));
    expect_counts(&counted, &UNTRACKED);
    let ((), counted) = lab.ctl.counting(|| web.goes_on());
    assert!(counted.iter().all(|(reason, _)| reason.ends_with(".untracked")), "{counted:?}");
    assert_eq!(lab.ctl.flows(), [] as [Value; 0]);
    let judged = lab.ctl.judged(IFACE);
    let conntrack = lab.ctl.json("counters")["conntrack"].clone();
    assert_eq!(conntrack["untracked_packets"], judged["ingress.untracked"] + judged["egress.untracked"]);
    assert_eq!(conntrack["tracked"], 0);
}

#[test]
fn t11_icmp_is_tracked() {
    let lab = Lab::attached(&EXAMPLE);
    lab.ctl.add_rules("web", &["ingress --protocol icmpv6 --cidr ::/0"]);
    for family in FAMILIES {
        let mut ping = lab.ping(family.other, family.host);
        let ((), counted) = lab.ctl.counting(|| ping.answers());
        expect_counts(&counted, &[("ingress.new", 1), ("egress.tracked", 1)]);
        let ((), counted) = lab.ctl.counting(|| ping.answers());
        expect_counts(&counted, &[("ingress.tracked", 1), ("egress.tracked", 1)]);
        let flows = lab.ctl.flows();
        let flow = flows.iter().find(|flow| flow["protocol"] == family.icmp).expect("the flow");
        assert_eq!(flow["icmp_id"], ping.id());
        assert_eq!((&flow["local_port"], &flow["remote_port"]), (&Value::Null, &Value::Null));
        assert_eq!(flow["initiated"], "ingress");
        assert_eq!(flow["packets"], 4);
    }
}

#[test]
fn t11_tcp_80_over_ipv4_is_tracked_without_ipv4_all_outbound() {
    let lab = Lab::attached(&EXAMPLE);
    lab.remove("egress --protocol all --cidr 0.0.0.0/0");
    let (mut web, counted) = lab.ctl.counting(|| lab.connect(V4.other, V4.host, 80));
    expect_counts(&counted, &TRACKED);
    web.goes_on();
    assert_eq!(only_flow(&lab)["local_port"], 80);
}

#[test]
fn t11_tcp_80_over_ipv6_is_untracked_without_ipv4_all_outbound() {
    let lab = Lab::attached(&EXAMPLE);
    lab.remove("egress --protocol all --cidr 0.0.0.0/0");
    let (mut web, counted) = lab.ctl.counting(|| lab.connect(V6.other, V6.host, 80));
    expect_counts(&counted, &UNTRACKED);
    web.goes_on();
    assert_eq!(lab.ctl.flows(), [] as [Value; 0]);
}

#[test]
fn t10_and_the_other_way_round_without_ipv6_all_outbound() {
    let lab = Lab::attached(&EXAMPLE);
    lab.remove("egress --protocol all --cidr ::/0");
    let (_web4, counted) = lab.ctl.counting(|| lab.connect(V4.other, V4.host, 80));
    expect_counts(&counted, &UNTRACKED);
    let (_web6, counted) = lab.ctl.counting(|| lab.connect(V6.other, V6.host, 80));
    expect_counts(&counted, &TRACKED);
}

#[test]
fn t12_the_two_open_rules_may_come_from_two_groups() {
    let lab = Lab::new();
    lab.ctl.bare_group("in", &["ingress --protocol tcp --port 80 --cidr 0.0.0.0/0"]);
    lab.ctl.group("out", &[]);
    lab.attach("--group in");
    let (web, counted) = lab.ctl.counting(|| lab.connect(V4.other, V4.host, 80));
    expect_counts(&counted, &TRACKED);
    drop(web);
    lab.ctl.json(&format!("interface set-groups {IFACE} in out"));
    let (_web, counted) = lab.ctl.counting(|| lab.connect(V4.other, V4.host, 80));
    expect_counts(&counted, &UNTRACKED);
}

#[test]
fn t9_all_ports_of_one_protocol_are_enough_for_the_answers() {
    let lab = Lab::attached_bare(&[
        "ingress --protocol tcp --port 80 --cidr 0.0.0.0/0",
        "ingress --protocol udp --port 53 --cidr 0.0.0.0/0",
        "egress --protocol tcp --port 0-65535 --cidr 0.0.0.0/0",
    ]);
    let (_web, counted) = lab.ctl.counting(|| lab.connect(V4.other, V4.host, 80));
    expect_counts(&counted, &UNTRACKED);
    // For UDP nothing is open outward.
    let mut dns = lab.datagrams(V4.other, V4.host, 53);
    let ((), counted) = lab.ctl.counting(|| dns.answers());
    expect_counts(&counted, &[("ingress.new", 1), ("egress.tracked", 1)]);
}

#[test]
fn udp_open_both_ways_is_untracked_and_a_narrow_source_tracked() {
    let lab = Lab::attached(&[
        "ingress --protocol udp --port 53 --cidr 0.0.0.0/0 --cidr ::/0",
        "ingress --protocol udp --port 123 --cidr 203.0.113.1/32 --cidr 2001:db8::1/128",
    ]);
    for family in FAMILIES {
        let mut dns = lab.datagrams(family.other, family.host, 53);
        let ((), counted) = lab.ctl.counting(|| dns.answers());
        expect_counts(&counted, &[("ingress.untracked", 1), ("egress.untracked", 1)]);
        assert!(!lab.ctl.flows().iter().any(|flow| flow["local_port"] == 53));

        let mut ntp = lab.datagrams(family.admin, family.host, 123);
        let ((), counted) = lab.ctl.counting(|| ntp.answers());
        expect_counts(&counted, &[("ingress.new", 1), ("egress.tracked", 1)]);
        assert!(lab.ctl.flows().iter().any(|flow| flow["remote_port"] == ntp.near_port()));
        drop(ntp);
        let mut stranger = lab.datagrams(family.other, family.host, 123);
        let ((), counted) = lab.ctl.counting(|| stranger.refused());
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
    }
}

#[test]
fn p2_connections_of_the_host_itself_are_tracked_with_default_rules() {
    let lab = Lab::attached(&[]);
    for family in FAMILIES {
        let (mut own, counted) = lab.ctl.counting(|| lab.connect_out(family.host, family.admin, 443));
        expect_counts(&counted, &[("egress.new", 1), ("egress.tracked", 1), ("ingress.tracked", 1)]);
        own.goes_on();
        let flows = lab.ctl.flows();
        let flow = flows.iter().find(|flow| flow["local_port"] == own.near_port()).expect("the flow");
        assert_eq!((&flow["initiated"], &flow["remote_port"]), (&Value::from("egress"), &Value::from(443)));
    }
}

#[test]
fn p2b_connections_of_the_host_itself_are_untracked_when_everything_is_open() {
    let lab = Lab::attached(&["ingress --protocol all --cidr 0.0.0.0/0"]);
    let (mut own, counted) = lab.ctl.counting(|| lab.connect_out(V4.host, V4.admin, 443));
    expect_counts(&counted, &[("egress.untracked", 2), ("ingress.untracked", 1)]);
    own.goes_on();
    assert_eq!(lab.ctl.flows(), [] as [Value; 0]);
}

#[test]
fn t14_force_track_tracks_what_is_open_both_ways() {
    let lab = Lab::new();
    lab.ctl.group("web", &EXAMPLE);
    lab.attach("--group web --force-track");
    let (_web, counted) = lab.ctl.counting(|| lab.connect(V4.other, V4.host, 80));
    expect_counts(&counted, &TRACKED);
}

#[test]
fn t17_t18_other_protocols_are_let_back_from_the_same_address_only() {
    let lab = Lab::attached_bare(&[
        "egress --protocol 47 --cidr 203.0.113.1/32",
        "egress --protocol 47 --cidr 2001:db8::1/128",
    ]);
    for family in FAMILIES {
        let mut host = lab.host.raw(family.host, 47);
        let (mut b, mut c) = (lab.client.raw(family.admin, 47), lab.client.raw(family.other, 47));
        let (arrived, counted) = lab.ctl.counting(|| b.reaches(&host, SILENCE));
        assert!(!arrived, "GRE came in before any went out");
        expect_counts(&counted, &[("ingress.no_rule", 1)]);

        let (arrived, counted) = lab.ctl.counting(|| host.reaches(&b, ANSWER) && b.reaches(&host, ANSWER));
        assert!(arrived, "GRE does not come back from where it went");
        expect_counts(&counted, &[("egress.new", 1), ("ingress.tracked", 1)]);
        let flows = lab.ctl.flows();
        let flow = flows.iter().find(|flow| flow["local"] == family.host.to_string()).expect("the flow");
        assert_eq!((&flow["protocol"], &flow["initiated"]), (&Value::from("47"), &Value::from("egress")));
        assert_eq!((&flow["local_port"], &flow["remote_port"]), (&Value::Null, &Value::Null));
        let left = flow["expires_in_seconds"].as_u64().expect("a number");
        assert!((590..=600).contains(&left), "T-17 says 600 s, not {left}");

        let (arrived, counted) = lab.ctl.counting(|| c.reaches(&host, SILENCE));
        assert!(!arrived, "GRE came in from an address that none went to");
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
        let (arrived, counted) = lab.ctl.counting(|| host.reaches(&c, SILENCE));
        assert!(!arrived, "GRE went out where no rule admits it");
        expect_counts(&counted, &[("egress.no_rule", 1)]);
    }
}

#[test]
fn t3_t30_nothing_comes_in_without_a_rule_and_nobody_is_told() {
    let lab = Lab::attached(&[]);
    for family in FAMILIES {
        let ((), counted) = lab.ctl.counting(|| lab.refuses(family.admin, family.host, 22));
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
        let ((), counted) = lab.ctl.counting(|| lab.datagrams(family.admin, family.host, 53).refused());
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
        let ((), counted) = lab.ctl.counting(|| lab.ping(family.admin, family.host).refused());
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
    }
    assert_eq!(lab.ctl.flows(), [] as [Value; 0], "what is refused leaves no entry");
}

#[test]
fn nothing_goes_out_without_a_rule() {
    let lab = Lab::attached_bare(&["ingress --protocol tcp --port 22 --cidr 0.0.0.0/0 --cidr ::/0"]);
    for family in FAMILIES {
        let out = || {
            sg_tests::net::refuses(&lab.host, family.host, &lab.client, (family.admin, 443).into());
        };
        let ((), counted) = lab.ctl.counting(out);
        expect_counts(&counted, &[("egress.no_rule", 1)]);
        let ((), counted) = lab.ctl.counting(|| lab.datagrams_out(family.host, family.admin, 53).refused());
        expect_counts(&counted, &[("egress.no_rule", 1)]);
        // T-3: answers leave whatever the outbound rules say.
        let (mut ssh, counted) = lab.ctl.counting(|| lab.connect(family.other, family.host, 22));
        expect_counts(&counted, &TRACKED);
        ssh.goes_on();
    }
}

#[test]
fn t5_an_outbound_rule_admits_its_destination_and_port_only() {
    let lab = Lab::attached_bare(&[
        "egress --protocol tcp --port 443 --cidr 203.0.113.1/32",
        "egress --protocol tcp --port 443 --cidr 2001:db8::1/128",
    ]);
    for family in FAMILIES {
        let refused = |to, port: u16| {
            sg_tests::net::refuses(&lab.host, family.host, &lab.client, (to, port).into());
        };
        lab.connect_out(family.host, family.admin, 443).goes_on();
        refused(family.admin, 444);
        refused(family.other, 443);
    }
}

#[test]
fn p10_address_resolution_needs_no_rule() {
    let lab = Lab::attached_bare(&[]);
    // The host is to be asked for its link address, and drops all else.
    lab.client.ip(&format!("neigh flush dev {PEER}"));
    for family in FAMILIES {
        let ((), counted) = lab.ctl.counting(|| lab.ping(family.admin, family.host).refused());
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
        let neighbour = lab.client.ip(&format!("neigh show {} dev {PEER}", family.host));
        assert!(neighbour.contains("lladdr"), "{} was not resolved: {neighbour:?}", family.host);
    }
    let counters = lab.ctl.json("counters");
    for direction in ["ingress", "egress"] {
        let exempt = counters["interfaces"][0][direction]["allowed"]["exempt"]["packets"].as_u64();
        assert!(exempt >= Some(2), "{direction}: {exempt:?}");
    }
    assert!(counters["conntrack"]["exempt_packets"].as_u64() >= Some(4), "{counters:#}");
    assert_eq!(lab.ctl.flows(), [] as [Value; 0]);
}

#[test]
fn t13_t42_p17_a_reference_to_a_group_admits_its_members() {
    let lab = Lab::new();
    lab.ctl.group("app", &[]);
    lab.ctl.group("rest", &[]);
    lab.ctl.bare_group("web", &["ingress --protocol tcp --port 80 --source-group app"]);
    lab.attach("--group web");
    // The clients' link is an interface of the same host, in another namespace.
    let clients = lab.ctl.in_netns(lab.client.name());
    for family in FAMILIES {
        lab.refuses(family.admin, family.host, 80);
    }
    clients.json(&format!("attach {PEER} --adopt none --group rest"));
    let ((), counted) = lab.ctl.counting(|| lab.refuses(ADMIN4, HOST4, 80));
    expect_counts(&counted, &[("ingress.no_rule", 1)]);

    clients.json(&format!("interface set-groups {PEER} rest app"));
    for family in FAMILIES {
        // T-13: open outward or not, a group is not the world.
        let (mut web, counted) = lab.ctl.counting(|| lab.connect(family.other, family.host, 80));
        expect_counts(&counted, &TRACKED);
        web.goes_on();
        lab.refuses(family.other, family.host, 81);
    }
    clients.json(&format!("detach {PEER}"));
    lab.refuses(ADMIN4, HOST4, 80);
    lab.refuses(ADMIN6, HOST6, 80);
}

#[test]
fn t4_members_of_the_default_group_talk_to_each_other_and_to_nobody_else() {
    let lab = Lab::new();
    lab.attach("");
    let clients = lab.ctl.in_netns(lab.client.name());
    lab.refuses(ADMIN4, HOST4, 22);
    clients.json(&format!("attach {PEER} --adopt none"));
    for family in FAMILIES {
        lab.connect(family.admin, family.host, 22).goes_on();
        lab.connect_out(family.host, family.other, 22).goes_on();
        lab.datagrams(family.other, family.host, 53).answers();
        lab.ping(family.admin, family.host).answers();
    }
    // T-4: being in the same group is no rule; here the rule goes.
    lab.ctl.json("rule remove default ingress --protocol all --source-group default");
    for family in FAMILIES {
        lab.refuses(family.admin, family.host, 22);
    }
}
