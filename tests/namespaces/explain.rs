//! `sg-ctl explain`: what it says is what happens on the wire.

use serde_json::{Value, json};
use sg_tests::{
    ctl::{Lab, keys},
    net::{ADMIN4, ADMIN6, FAMILIES, IFACE, V4, V6},
};

/// The answer for a packet of [`IFACE`], held against the contract of `cli.md`.
fn explain(lab: &Lab, line: &str) -> Value {
    let answer = lab.ctl.json(&format!("explain {IFACE} {line}"));
    assert_eq!(
        keys(&answer),
        ["reason", "return_rules", "rules", "service_address", "tracking", "verdict"],
        "{line}"
    );
    for rule in ["rules", "return_rules"].iter().flat_map(|list| answer[list].as_array().expect("an array")) {
        assert_eq!(keys(rule), ["GroupId", "SecurityGroupRuleId", "removal"]);
    }
    assert_eq!(answer["verdict"] == "drop", answer["tracking"].is_null(), "{answer}");
    answer
}

/// Verdict, tracking and reason.
fn said(answer: &Value) -> [&str; 3] {
    ["verdict", "tracking", "reason"].map(|key| answer[key].as_str().unwrap_or("null"))
}

/// Ids and removals of a list of rules.
fn removals<'a>(answer: &'a Value, list: &str) -> Vec<(&'a str, &'a str)> {
    let text = |value: &'a Value| value.as_str().expect("a string");
    let rules = answer[list].as_array().expect("an array").iter();
    rules.map(|rule| (text(&rule["SecurityGroupRuleId"]), text(&rule["removal"]))).collect()
}

/// The id of the one rule that `rule add` makes.
fn add(lab: &Lab, rule: &str) -> String {
    let added = lab.ctl.json(&format!("rule add web {rule}"));
    added["SecurityGroupRules"][0]["SecurityGroupRuleId"].as_str().expect("an id").to_owned()
}

#[test]
fn t31_t32_what_removal_would_do_is_foretold_and_comes_true() {
    let lab = Lab::attached(&[]);
    for family in FAMILIES {
        let (narrow, world) = (family.narrow, family.world);
        let ssh = add(&lab, &format!("ingress --protocol tcp --port 22 --cidr {narrow}"));
        let web = add(&lab, &format!("ingress --protocol tcp --port 80 --cidr {world}"));
        let from =
            |remote, port| explain(&lab, &format!("ingress --protocol tcp --remote {remote} --port {port}"));

        let tracked = from(family.admin, 22);
        assert_eq!(said(&tracked), ["allow", "tracked", "new"]);
        assert_eq!(removals(&tracked, "rules"), [(ssh.as_str(), "keeps_tracked")]);
        assert!(removals(&tracked, "return_rules").is_empty());
        let untracked = from(family.other, 80);
        assert_eq!(said(&untracked), ["allow", "untracked", "untracked"]);
        assert_eq!(removals(&untracked, "rules"), [(web.as_str(), "interrupts")]);
        assert!(matches!(removals(&untracked, "return_rules")[..], [(_, "interrupts")]));
        let refused = from(family.other, 22);
        assert_eq!(said(&refused), ["drop", "null", "no_rule"]);
        assert_eq!(refused["rules"], json!([]));

        // A second rule for the one client keeps that client's flow alive.
        let both = add(&lab, &format!("ingress --protocol tcp --port 80 --cidr {narrow}"));
        let untracked = from(family.admin, 80);
        let mut removals = removals(&untracked, "rules");
        removals.sort_by_key(|(id, _)| *id != web);
        assert_eq!(removals, [(web.as_str(), "changes_tracking"), (both.as_str(), "nothing")]);

        let mut sessions =
            [lab.connect(family.admin, family.host, 22), lab.connect(family.admin, family.host, 80)];
        let mut cut = lab.connect(family.other, family.host, 80);
        for id in [&ssh, &web] {
            lab.remove(id);
        }
        sessions.iter_mut().for_each(sg_tests::net::Connection::goes_on);
        cut.is_cut_forward();
        assert_eq!(said(&from(family.admin, 22)), ["drop", "null", "no_rule"], "at once");
        assert_eq!(said(&from(family.other, 80)), ["drop", "null", "no_rule"]);
        assert_eq!(said(&from(family.admin, 80)), ["allow", "tracked", "new"]);
        lab.remove(&both);
    }
}

#[test]
fn every_kind_of_packet_has_its_answer() {
    let lab = Lab::attached_bare(&[
        "ingress --protocol icmp --icmp-type 8 --cidr 203.0.113.1/32",
        "ingress --protocol icmp --icmp-type 3 --cidr 203.0.113.1/32",
        "ingress --protocol 47 --cidr 2001:db8::1/128",
        "egress --protocol udp --port 53 --cidr 203.0.113.0/24",
    ]);
    for (line, expected, rules) in [
        ("ingress --protocol icmp --icmp-type 8 --remote 203.0.113.1", ["allow", "tracked", "new"], 1),
        (
            "ingress --protocol 1 --icmp-type 8 --icmp-code 0 --remote 203.0.113.2",
            ["drop", "null", "no_rule"],
            0,
        ),
        // An error about no flow is judged alone.
        (
            "ingress --protocol icmp --icmp-type 3 --icmp-code 4 --remote 203.0.113.1",
            ["allow", "untracked", "stateless"],
            1,
        ),
        ("ingress --protocol 47 --remote 2001:db8::1", ["allow", "tracked", "new"], 1),
        ("ingress --protocol 47 --remote 203.0.113.1", ["drop", "null", "no_rule"], 0),
        ("egress --protocol udp --port 53 --remote 203.0.113.9", ["allow", "tracked", "new"], 1),
        (
            "egress --protocol 17 --port 54 --source-port 53 --remote 203.0.113.9",
            ["drop", "null", "no_rule"],
            0,
        ),
        // Before the rules: what is exempt, and what cannot be true.
        (
            "egress --protocol udp --port 67 --source-port 68 --remote 255.255.255.255",
            ["allow", "exempt", "exempt"],
            0,
        ),
        ("ingress --protocol icmpv6 --icmp-type 135 --remote fe80::1", ["allow", "exempt", "exempt"], 0),
        ("ingress --protocol icmpv6 --icmp-type 130 --remote fe80::1", ["allow", "exempt", "exempt"], 0),
        ("ingress --protocol 47 --remote 203.0.113.10", ["drop", "null", "spoofed_source"], 0),
    ] {
        let answer = explain(&lab, line);
        assert_eq!(said(&answer), expected, "{line}");
        assert_eq!(answer["rules"].as_array().map(Vec::len), Some(rules), "{line}");
        assert_eq!(answer["service_address"], false, "{line}");
    }
    let service = explain(&lab, "egress --protocol udp --port 123 --remote 169.254.169.123");
    assert_eq!(said(&service), ["allow", "tracked", "new"]);
    assert_eq!((&service["rules"], &service["service_address"]), (&json!([]), &json!(true)));

    let text = lab.ctl.text(&format!("explain {IFACE} ingress --protocol 47 --remote 2001:db8::1"));
    assert!(
        text.starts_with(
            "allow, tracked\n  packet  protocol 47, 2001:db8::1 to 2001:db8::10, ingress on sg0\n"
        ),
        "{text}"
    );
}

#[test]
fn nothing_changes_and_traffic_goes_on_while_it_is_asked() {
    let lab = Lab::attached(&[
        "ingress --protocol tcp --port 22 --cidr 203.0.113.1/32",
        "ingress --protocol tcp --port 80 --cidr 0.0.0.0/0",
    ]);
    let mut sessions = [lab.connect(V4.admin, V4.host, 22), lab.connect(V4.other, V4.host, 80)];
    let picture = lab.ctl.picture();
    let flows = lab.ctl.flows().len();
    let asks = || {
        for (port, remote) in [(22, "203.0.113.1"), (80, "203.0.113.2"), (23, "203.0.113.1")] {
            explain(&lab, &format!("ingress --protocol tcp --port {port} --remote {remote}"));
            explain(&lab, &format!("egress --protocol udp --port {port} --remote {remote}"));
        }
    };
    let ((), counted) = lab.ctl.counting(asks);
    assert!(counted.is_empty(), "no packet was on the wire: {counted:?}");
    assert_eq!(lab.ctl.picture(), picture, "store, generation, map sizes and pins");
    assert_eq!(lab.ctl.flows().len(), flows);
    std::thread::scope(|scope| {
        let asking = scope.spawn(asks);
        while !asking.is_finished() {
            sessions.iter_mut().for_each(sg_tests::net::Connection::goes_on);
        }
    });
}

#[test]
fn p15_explain_mirrors_on_the_side_of_a_guest() {
    for mode in ["tc", "native"] {
        let lab = Lab::new();
        lab.ctl.bare_group("vm", &["ingress --protocol tcp --port 22 --cidr 203.0.113.10/32"]);
        lab.ctl.add_rules("vm", &["egress --protocol udp --port 53 --cidr 2001:db8::/64"]);
        lab.attach(&format!("--group vm --side guest --mode {mode} --address {ADMIN4} --address {ADMIN6}"));
        for (line, expected) in [
            ("ingress --protocol tcp --port 22 --remote 203.0.113.10", ["allow", "tracked", "new"]),
            ("egress --protocol tcp --port 22 --remote 203.0.113.10", ["drop", "null", "no_rule"]),
            ("egress --protocol udp --port 53 --remote 2001:db8::10", ["allow", "tracked", "new"]),
            // A guest plays no DHCP server, whatever its rules say (P-20).
            (
                "egress --protocol udp --port 68 --source-port 67 --remote 203.0.113.10",
                ["drop", "null", "spoofed_source"],
            ),
        ] {
            assert_eq!(said(&explain(&lab, line)), expected, "{mode}: {line}");
        }
    }
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let lab = Lab::new();
    let tcp = "ingress --protocol tcp --port 22 --remote 203.0.113.1";
    assert_eq!(lab.ctl.refused(&format!("explain {IFACE} {tcp}")).code, "InvalidNetworkInterfaceID.NotFound");
    lab.attach("");
    for (line, code, names) in [
        ("ingress --protocol tcp --remote 203.0.113.1", "MissingParameter", "--port"),
        ("ingress --protocol icmp --remote 203.0.113.1", "MissingParameter", "--icmp-type"),
        ("ingress --protocol all --remote 203.0.113.1", "InvalidParameterValue", "--protocol"),
        ("ingress --protocol tcp --port 22 --remote 203.0.113.0/24", "InvalidParameterValue", "--remote"),
        (
            "ingress --protocol icmpv6 --icmp-type 128 --remote 203.0.113.1",
            "InvalidParameterCombination",
            "icmp",
        ),
    ] {
        let refused = lab.ctl.refused(&format!("explain {IFACE} {line}"));
        assert_eq!(refused.code, code, "{line}");
        assert!(refused.message.contains(names), "{line}: {}", refused.message);
    }
    // The addresses are read when something changes, and one is gone.
    lab.host.ip(&format!("address flush dev {IFACE} scope global"));
    lab.host.ip(&format!("address add {}/24 dev {IFACE}", V4.host));
    lab.ctl.group("other", &[]);
    let line = format!("explain {IFACE} ingress --protocol tcp --port 22 --remote {}", V6.admin);
    let refused = lab.ctl.refused(&line);
    assert_eq!(refused.code, "InvalidParameterCombination");
    assert!(refused.message.contains("has no IPv6 address"), "{}", refused.message);

    lab.host.ip(&format!("link delete {IFACE}"));
    let refused = lab.ctl.refused(&format!("explain {IFACE} {tcp}"));
    assert_eq!(refused.code, "IncorrectState", "{}", refused.message);
    assert!(refused.message.contains("not enforced"), "{}", refused.message);
}
