//! One kind of object after the other: how it is named, what is checked at the end.

use super::{apply, refusal, rules_of, source, yaml};
use crate::{
    document::{How, find_vpc, plan},
    model::{Peer, PrefixListId, Quota},
    ops::{
        group,
        interface::tests::attached,
        testing::{self, state},
        vpc,
    },
};

#[test]
fn the_order_of_groups_that_name_each_other_does_not_matter() {
    let (mut state, vpc) = state();
    let text = "
vpcs:
- name: one
  groups:
  - {name: a, description: d, ingress: [{protocol: all, group: b}, {protocol: all, group: two/c}]}
  - {name: b, description: d, ingress: [{protocol: all, group: a}]}
- name: two
  groups:
  - {name: c, description: d, ingress: [{protocol: all, group: one/a}]}
peerings:
- {requester: two, accepter: one}
";
    apply(&mut state, text, false);
    let one = find_vpc(&state, "one").unwrap();
    assert_eq!(rules_of(&state, one, "a").len(), 4);
    let across = rules_of(&state, one, "a").into_iter().filter(|rule| rule.peer_vpc.is_some()).count();
    assert_eq!(across, 1);
    assert_ne!(one, vpc);
    // A cycle goes as it came.
    apply(&mut state, "vpcs: [{name: one, groups: []}, {name: two, groups: []}]", true);
    assert_eq!(state.groups.len(), 3);
    // Without a peering that is active they do not know each other.
    let pending = text
        .replace("accepter: one", "accepter: one, status: pending-acceptance")
        .replace("one", "uno")
        .replace("two", "due");
    assert_eq!(
        refusal(&state, &pending, false),
        "InvalidGroup.NotFound: sg.yaml:5: field 'vpcs[0].groups[0].ingress[1].group': You have specified two \
         resources that belong to different networks."
    );
}

#[test]
fn ids_keep_apart_what_has_one_name() {
    let (mut state, _) = state();
    for _ in 0..2 {
        vpc::create(&mut state, "twin", &[]).unwrap();
    }
    let text = yaml(&state);
    assert_eq!(text.matches("  id: vpc-").count(), 2, "{text}");
    assert_eq!(apply(&mut state, &text, true), [] as [&str; 0]);
    assert!(
        refusal(&state, "vpcs: [{name: twin}]", false)
            .contains("'twin' is the name of several VPCs; give the 'id'")
    );
    // On another host they get the ids that they had.
    let (mut other, _) = testing::state();
    apply(&mut other, &text, true);
    assert_eq!(yaml(&other), text);
    // An id also renames.
    let id = state.vpcs.values().find(|vpc| vpc.name() == Some("twin")).unwrap().id;
    let lines = apply(&mut state, &format!("vpcs: [{{id: {id}, name: single}}]"), false);
    assert_eq!(lines, ["~ vpc single: tag Name twin -> single"]);
    let default = vpc::default_vpc(&state).unwrap();
    let group = group::default_of(&state, default).unwrap();
    assert!(
        refusal(&state, &format!("vpcs: [{{default: true, groups: [{{id: {group}, name: x}}]}}]"), false)
            .contains("names of groups are fixed")
    );
}

#[test]
fn m34_m49_quotas_hold_for_the_state_at_the_end() {
    let (mut state, _) = state();
    let rules = |from: u32, to: u32| {
        let rule = |n| format!("    - {{protocol: tcp, ports: {n}, cidr: 10.0.0.0/8}}\n");
        let rules: String = (from..to).map(rule).collect();
        format!("vpcs:\n- default: true\n  groups:\n  - name: web\n    description: d\n    ingress:\n{rules}")
    };
    apply(&mut state, &rules(0, 60), false);
    // Others in their place are as many.
    apply(&mut state, &rules(30, 90), true);
    let beyond =
        "RulesPerSecurityGroupLimitExceeded: sg.yaml:7: field 'vpcs[0].groups[0].ingress': That would be";
    assert_eq!(
        refusal(&state, &rules(0, 1), false),
        format!("{beyond} 61, and the quota rules-per-group is 60")
    );
    assert_eq!(
        refusal(&state, &rules(0, 61), true),
        format!("{beyond} 61, and the quota rules-per-group is 60")
    );
    // What is beyond a quota that was lowered stays.
    apply(&mut state, &format!("quotas: {{rules-per-group: 10}}\n{}", rules(30, 90)), true);
    apply(&mut state, &rules(31, 90), true);
    assert_eq!(state.quotas.get(Quota::RulesPerGroup), 10);

    let list = |size: u32| format!("prefix-lists:\n- name: l\n  family: ipv4\n  max-entries: {size}\n");
    let named = "vpcs: [{default: true, groups: [{name: db, description: d, ingress: [{protocol: all, prefix-list: l}]}]}]\n";
    apply(&mut state, &format!("{}{named}", list(10)), false);
    assert_eq!(
        refusal(&state, &list(11), false),
        "RulesPerSecurityGroupLimitExceeded: sg.yaml:4: field 'prefix-lists[0].max-entries': That would be 11, and the \
         quota rules-per-group is 10"
    );
    assert!(
        refusal(&state, "vpcs: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}]", false)
            .starts_with("VpcLimitExceeded: sg.yaml:1: field 'vpcs': That would be 6")
    );
}

#[test]
fn m53_entries_that_change_make_one_version_and_others_none() {
    let (mut state, _) = state();
    let text = |entries: &str| {
        format!("prefix-lists:\n- {{name: l, family: ipv4, max-entries: 9, entries: [{entries}]}}\n")
    };
    apply(&mut state, &text("{cidr: 10.0.0.0/8}, {cidr: 10.1.0.0/16, description: x}"), false);
    let id: PrefixListId = *state.prefix_lists.keys().next().unwrap();
    assert_eq!(state.prefix_lists[&id].version, 1);
    apply(&mut state, &text("{cidr: 10.1.0.0/16, description: x}"), false);
    assert_eq!(state.prefix_lists[&id].version, 1);
    let lines = apply(&mut state, &text("{cidr: 10.1.0.0/16, description: y}, {cidr: 10.2.0.0/16}"), true);
    assert_eq!(
        lines,
        [
            "- prefix-list l: entry 10.0.0.0/8",
            "~ prefix-list l: entry 10.1.0.0/16 description 'x' -> 'y'",
            "+ prefix-list l: entry 10.2.0.0/16",
        ]
    );
    assert_eq!(state.prefix_lists[&id].version, 2);
    assert_eq!(state.prefix_lists[&id].at(1).count(), 2);
}

#[test]
fn names_with_a_slash_are_told_from_groups_of_other_vpcs() {
    let (mut state, vpc) = state();
    let base = "
vpcs:
- default: true
  groups:
  - {name: shared/web, description: own}
  - {name: a/b/c, description: own}
  - {name: user, description: d, ingress: [{protocol: all, group: a/b/c}]}
- name: shared
  groups: [{name: web, description: theirs}]
peerings: [{requester: default, accepter: shared}]
";
    apply(&mut state, base, false);
    let user = "vpcs: [{default: true, groups: [{name: user, ingress: [{protocol: tcp, ports: 1, group: shared/web}]}]}]";
    assert!(
        refusal(&state, user, false)
            .contains("'shared/web' is the name of a group and of one of another VPC")
    );
    let theirs = group::find(&state, find_vpc(&state, "shared").unwrap(), "web").unwrap();
    apply(&mut state, &user.replace("shared/web", &theirs.to_string()), false);
    assert!(rules_of(&state, vpc, "user").iter().any(|rule| rule.peer == Peer::Group(theirs)));
    let text = yaml(&state);
    assert!(text.contains(&format!("id: {theirs}")), "{text}");
    assert_eq!(apply(&mut state, &text, true), [] as [&str; 0]);
    let (mut other, _) = testing::state();
    apply(&mut other, &text, true);
    assert_eq!(yaml(&other), text);
}

#[test]
fn interfaces_are_found_in_their_namespace_and_stay_what_they_are() {
    let (mut state, _) = state();
    attached(&mut state, "eth0", Some("blue"));
    let there = |interface: &str| format!("vpcs: [{{default: true, interfaces: [{interface}]}}]");
    assert!(
        refusal(&state, &there("{name: eth0}"), false).starts_with("InvalidNetworkInterfaceID.NotFound: ")
    );
    apply(&mut state, &there("{name: eth0, netns: /run/netns/blue, groups: [default]}"), false);
    let document = source(&there("{name: eth0, groups: [default, default]}")).read().unwrap();
    let how = How { netns: Some("blue"), ..How::default() };
    assert_eq!(plan(&state, &document, &how).unwrap().state, state);
    for (interface, code) in [
        ("{name: eth0, netns: blue, registered: true, addresses: [10.0.0.1]}", "IncorrectState"),
        ("{name: eth0, netns: blue, addresses: [10.0.0.1]}", "InvalidParameterValue"),
        ("{name: eth0, netns: blue, groups: []}", "MissingParameter"),
        ("{name: x, registered: true, addresses: [10.0.0.1]}", "InvalidIPAddress.InUse"),
        ("{name: x y, registered: true, addresses: [10.0.0.2]}", "InvalidParameterValue"),
        ("{name: x, registered: true}", "MissingParameter"),
        ("{name: x, registered: true, addresses: []}", "MissingParameter"),
        ("{name: x, registered: true, addresses: [127.0.0.1]}", "InvalidParameterValue"),
        ("{name: x, registered: true, addresses: [10.0.0.2], timeouts: {udp: 30}}", "OperationNotPermitted"),
        ("{name: x, registered: true, addresses: [10.0.0.1], netns: blue}", "InvalidParameterValue"),
    ] {
        let refused = refusal(&state, &there(interface), false);
        assert!(refused.starts_with(code), "{interface}: {refused}");
    }
    // Two members exchange their addresses, and a third comes by the name and address of one that goes.
    let two = |one: &str, other: &str, name: &str| {
        there(&format!(
            "{{name: {name}, registered: true, addresses: [{one}]}}, {{name: y, registered: true, addresses: [{other}]}}"
        ))
    };
    apply(&mut state, &two("10.0.0.5", "10.0.0.6", "x"), true);
    apply(&mut state, &two("10.0.0.6", "10.0.0.5", "x"), true);
    apply(&mut state, &two("10.0.0.6", "10.0.0.5", "z"), true);
    assert_eq!(state.interfaces.len(), 3);
}
