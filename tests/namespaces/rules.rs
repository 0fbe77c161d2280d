//! Rules changed in place, and what the commands say of the flows that outlive a change.

use serde_json::{Value, json};
use sg_tests::{
    ctl::{Lab, binary, finish, keys},
    net::{FAMILIES, Family, V4, V6},
};
use std::process::Command;

const SSH: &str = "ingress --protocol tcp --port 22 --cidr 203.0.113.1/32";

/// Adds one rule to `web` and returns its id.
fn add(lab: &Lab, rule: &str) -> String {
    let added = lab.ctl.json(&format!("rule add web {rule}"));
    let [rule] = &added["SecurityGroupRules"].as_array().expect("an array")[..] else { panic!("{added}") };
    rule["SecurityGroupRuleId"].as_str().expect("an id").to_owned()
}

/// The rule of that id, as `rule list` prints it.
fn listed(lab: &Lab, id: &str) -> Value {
    let rules = lab.ctl.json("rule list web");
    let rules = rules["SecurityGroupRules"].as_array().expect("an array");
    rules.iter().find(|rule| rule["SecurityGroupRuleId"] == id).cloned().expect("it is there")
}

#[test]
fn m22_t32_a_modified_rule_is_in_force_at_once_and_the_tracked_connection_lives_on() {
    let lab = Lab::attached(&[]);
    let id = add(&lab, SSH);
    let mut session = lab.connect(V4.admin, V4.host, 22);
    let modified = lab.ctl.json(&format!("rule modify {id} --port 2222 --report"));
    assert_eq!(modified, json!({ "Return": true, "interrupted_ports": 0, "surviving_flows": 1 }));
    session.goes_on();
    lab.refuses(V4.admin, V4.host, 22);
    lab.connect(V4.admin, V4.host, 2222).goes_on();

    // Another source: the rule is the same one still.
    let before = listed(&lab, &id);
    lab.ctl.json(&format!("rule modify {id} --cidr 203.0.113.2/32"));
    lab.refuses(V4.admin, V4.host, 2222);
    lab.connect(V4.other, V4.host, 2222).goes_on();
    let mut after = listed(&lab, &id);
    assert_eq!(after["CidrIpv4"].take(), "203.0.113.2/32");
    assert_eq!(after["FromPort"], 2222);
    let mut before = before;
    before["CidrIpv4"].take();
    assert_eq!(after, before, "nothing else changed");
}

#[test]
fn m22_t31_a_modified_rule_cuts_the_untracked_connection() {
    let lab = Lab::attached(&[]);
    let id = add(&lab, "ingress --protocol tcp --port 80 --cidr 0.0.0.0/0");
    let mut open = lab.connect(V4.other, V4.host, 80);
    open.goes_on();
    let modified = lab.ctl.json(&format!("rule modify {id} --port 8080"));
    assert_eq!(modified, json!({ "Return": true, "interrupted_ports": 1 }), "not asked, not counted");
    open.is_cut_forward();
    lab.connect(V4.other, V4.host, 8080).goes_on();
    // The same rule, wider: nothing is interrupted.
    let modified = lab.ctl.json(&format!("rule modify {id} --port 8000-8999"));
    assert_eq!(modified["interrupted_ports"], 0);
}

#[test]
fn t32_the_report_counts_flows_that_no_rule_admits_any_more() {
    for family in FAMILIES {
        report(family);
    }
}

fn report(family: Family) {
    let lab = Lab::attached(&[]);
    let (bits, icmp, echo) = if family.host == V6.host { (128, "icmpv6", 128) } else { (32, "icmp", 8) };
    let admin = format!("--cidr {}/{bits}", family.admin);
    let ssh = add(&lab, &format!("ingress --protocol tcp --port 22 {admin}"));
    let both = add(&lab, &format!("ingress --protocol tcp --port 22-23 {admin}"));
    let dns = add(&lab, &format!("ingress --protocol udp --port 53 {admin}"));
    let ping = add(&lab, &format!("ingress --protocol {icmp} --icmp-type {echo} {admin}"));

    let _tcp22 = lab.connect(family.admin, family.host, 22);
    let _tcp23 = lab.connect(family.admin, family.host, 23);
    let mut datagrams = lab.datagrams(family.admin, family.host, 53);
    datagrams.answers();
    let mut pinging = lab.ping(family.admin, family.host);
    pinging.answers();
    // Started by the host itself: no inbound rule ever admitted it.
    let _out = lab.connect_out(family.host, family.admin, 22);

    let survivors = |rule: &str| {
        let removed = lab.ctl.json(&format!("rule remove web {rule} --report"));
        assert_eq!(
            keys(&removed),
            ["Return", "RevokedSecurityGroupRules", "interrupted_ports", "surviving_flows"]
        );
        removed["surviving_flows"].as_u64().expect("a number")
    };
    assert_eq!(survivors(&ssh), 0, "another rule still admits it");
    assert_eq!(survivors(&both), 2);
    assert_eq!(survivors(&format!("{dns} {ping}")), 2, "one UDP, one ping");
    let outbound = format!("egress --protocol all --cidr {}", family.world);
    assert_eq!(survivors(&outbound), 1, "its own connection alone: answers need no rule");
    datagrams.answers();
    pinging.answers();

    // Without the flag nobody counts; with nothing attached there is nothing to count.
    let spare = add(&lab, "ingress --protocol tcp --port 1 --cidr 10.0.0.0/8");
    let removed = lab.ctl.json(&format!("rule remove web {spare}"));
    assert_eq!(keys(&removed), ["Return", "RevokedSecurityGroupRules", "interrupted_ports"]);
}

#[test]
fn t32_a_host_with_nothing_attached_reports_no_survivors() {
    let lab = Lab::new();
    lab.ctl.group("web", &[]);
    let id = add(&lab, SSH);
    let removed = lab.ctl.json(&format!("rule remove web {id} --report"));
    assert_eq!(removed["surviving_flows"], 0);
}

#[test]
fn a19_a_description_is_replaced_and_removed_and_the_rule_stays() {
    let lab = Lab::attached(&[]);
    let id = add(&lab, &format!("{SSH} --description office"));
    assert_eq!(listed(&lab, &id)["Description"], "office");
    assert_eq!(lab.ctl.json(&format!("rule describe {id} home")), json!({ "Return": true }));
    assert_eq!(listed(&lab, &id)["Description"], "home");
    // An empty word is no part of a line here: the command as a shell hands it over.
    let mut command = Command::new(binary());
    let ran = finish(lab.ctl.prepare(&mut command).args(["rule", "describe", &id, ""]));
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("described {id}\n")));
    assert!(!keys(&listed(&lab, &id)).contains(&"Description"));
    lab.connect(V4.admin, V4.host, 22).goes_on();
}

#[test]
fn a59_to_a69_what_modify_and_describe_refuse_changes_nothing() {
    let lab = Lab::attached(&[SSH]);
    let id = add(&lab, "ingress --protocol tcp --port 80 --cidr 203.0.113.0/24");
    for (line, code) in [
        ("rule modify sgr-0123456789abcdef0 --port 1".to_owned(), "InvalidSecurityGroupRuleId.NotFound"),
        ("rule modify web --port 1".to_owned(), "InvalidSecurityGroupRuleId.Malformed"),
        (format!("rule modify {id} --port 22 --cidr 203.0.113.1/32"), "InvalidPermission.Duplicate"),
        (format!("rule modify {id} --cidr ::/0"), "InvalidParameterValue"),
        (format!("rule modify {id} --source-group web"), "InvalidParameterValue"),
        (format!("rule modify {id} --source-group nosuch"), "InvalidGroup.NotFound"),
        (format!("rule modify {id} --cidr 10.0.0.0/8 --cidr 10.0.0.0/9"), "InvalidParameterCombination"),
        (format!("rule modify {id} --protocol icmp --icmp-code 0"), "InvalidParameterValue"),
        (format!("rule modify {id} --port 70000"), "InvalidParameterValue"),
        (format!("rule modify {id} --description Grüße"), "InvalidParameterValue"),
        (format!("rule describe {id} Grüße"), "InvalidParameterValue"),
        ("rule describe sgr-0123456789abcdef0 text".to_owned(), "InvalidSecurityGroupRuleId.NotFound"),
    ] {
        let refused = lab.ctl.refused(&line);
        assert_eq!(refused.code, code, "`sg-ctl {line}`: {}", refused.message);
    }
}

#[test]
fn t32_narrowing_a_rule_counts_those_alone_whom_it_shut_out() {
    let lab = Lab::attached(&[]);
    lab.ctl.json("prefix-list create offices --family ipv4 --max-entries 5 --entry 203.0.113.0/24");
    let by_list = add(&lab, "ingress --protocol tcp --port 2222 --prefix-list offices");
    let by_cidr = add(&lab, "ingress --protocol tcp --port 22 --cidr 203.0.113.0/24");
    let mut sessions: Vec<_> = [(V4.admin, 22), (V4.other, 22), (V4.admin, 2222), (V4.other, 2222)]
        .map(|(from, port)| lab.connect(from, V4.host, port))
        .into();
    let narrowed = lab.ctl.json(&format!("rule modify {by_cidr} --cidr 203.0.113.1/32 --report"));
    assert_eq!(narrowed["surviving_flows"], 1, "the other client's alone");
    let described = lab.ctl.json(&format!("rule modify {by_cidr} --description admin --report"));
    assert_eq!(described["surviving_flows"], 0, "nothing was shut out by that");
    let removed = lab.ctl.json(&format!("rule remove web {by_list} --report"));
    assert_eq!(removed["surviving_flows"], 2, "all that the list admitted");
    sessions.iter_mut().for_each(|session| session.goes_on());
}
