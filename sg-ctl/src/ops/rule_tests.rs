//! Tests of [`super`], apart for the length of the file.

use super::*;
use crate::{
    model::{Vpc, VpcId},
    ops::testing::{group, refusal, refused, state},
};

/// A state with a group `web`.
fn with_web() -> (State, GroupId) {
    let (mut state, _) = state();
    let web = group(&mut state, "web");
    (state, web)
}

/// Asserts that the call is refused so and changes nothing.
fn refuses(state: &mut State, content: &Content, expected: &str) {
    let before = state.clone();
    assert_eq!(refused(add(state, "web", content)), expected);
    assert_eq!(*state, before);
}

#[test]
fn one_rule_for_each_peer() {
    let (mut state, web) = with_web();
    let content = Content::tcp("80-443").with_cidr("10.0.0.1/8").with_cidr("::0/0").with_group("web");
    let added = add(&mut state, "WEB", &content).unwrap();
    let peers: Vec<_> = added.rules.iter().map(|id| state.rules[id].peer.to_string()).collect();
    assert_eq!(peers, ["10.0.0.0/8", "::/0", &web.to_string()]);
    assert!(added.warnings.is_empty());
}

#[test]
fn a41_a_port_of_protocol_minus_one_warns() {
    let (mut state, _) = with_web();
    let mut content = Content::all(Direction::Ingress).with_cidr("10.0.0.0/8");
    content.port = Some("22".to_owned());
    let added = add(&mut state, "web", &content).unwrap();
    assert_eq!(added.warnings, ["protocol -1 covers all ports of all protocols; --port is ignored"]);
}

#[test]
fn m20_overlap_is_no_duplicate() {
    let (mut state, _) = with_web();
    add(&mut state, "web", &Content::tcp("22").with_cidr("0.0.0.0/0")).unwrap();
    add(&mut state, "web", &Content::tcp("0-65535").with_cidr("0.0.0.0/0")).unwrap();
    add(&mut state, "web", &Content::all(Direction::Ingress).with_cidr("0.0.0.0/0")).unwrap();
}

#[test]
fn a49_a45_the_same_rule_in_other_words_is_a_duplicate() {
    let (mut state, _) = with_web();
    add(&mut state, "web", &Content::tcp("22").with_cidr("10.0.0.0/24")).unwrap();
    let mut again = Content::tcp("22-22").with_cidr("10.0.0.1/24");
    again.protocol = "6".to_owned();
    again.description = Some("another description".to_owned());
    refuses(
        &mut state,
        &again,
        "InvalidPermission.Duplicate: the specified rule \"peer: 10.0.0.0/24, TCP, from port: 22, to port: 22, \
         ALLOW\" already exists",
    );
}

#[test]
fn a66_protocol_minus_one_is_all_without_ports() {
    let (mut state, _) = with_web();
    refuses(
        &mut state,
        &Content::all(Direction::Egress).with_cidr("0.0.0.0/0"),
        "InvalidPermission.Duplicate: the specified rule \"peer: 0.0.0.0/0, ALL, ALLOW\" already exists",
    );
}

#[test]
fn a50_the_same_rule_twice_in_one_call() {
    let (mut state, _) = with_web();
    refuses(
        &mut state,
        &Content::tcp("22").with_cidr("10.0.0.0/24").with_cidr("10.0.0.9/24"),
        "InvalidParameterValue: The same permission must not appear multiple times; give each source once",
    );
}

#[test]
fn a51_one_bad_peer_refuses_all() {
    let (mut state, _) = with_web();
    refuses(
        &mut state,
        &Content::tcp("22").with_cidr("10.0.0.0/24").with_cidr("10.0.0.0/99"),
        "InvalidParameterValue: CIDR block 10.0.0.0/99 is malformed; write it like 10.0.0.0/8 or 2001:db8::/32",
    );
}

#[test]
fn a51_one_duplicate_or_one_too_many_refuses_all() {
    let (mut state, _) = with_web();
    add(&mut state, "web", &Content::tcp("22").with_cidr("10.0.0.0/8")).unwrap();
    refuses(
        &mut state,
        &Content::tcp("22").with_cidr("192.0.2.0/24").with_cidr("10.0.0.0/8"),
        "InvalidPermission.Duplicate: the specified rule \"peer: 10.0.0.0/8, TCP, from port: 22, to port: 22, ALLOW\" \
         already exists",
    );
    state.quotas.0.insert(Quota::RulesPerGroup, 2);
    let two_more = Content::tcp("22").with_cidr("192.0.2.0/24").with_cidr("198.51.100.0/24");
    refuses(
        &mut state,
        &two_more,
        "RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group has been reached. It is 2 \
         for each direction and family; 'sg-ctl quota rules-per-group=N' raises it",
    );
    state.quotas.0.insert(Quota::RulesPerGroup, 3);
    assert_eq!(add(&mut state, "web", &two_more).unwrap().rules.len(), 2);
}

#[test]
fn a66_the_duplicate_is_told_in_ec2s_words() {
    let (mut state, web) = with_web();
    let with = |protocol: &str, icmp_type: Option<&str>| Content {
        protocol: protocol.to_owned(),
        port: None,
        icmp_type: icmp_type.map(str::to_owned),
        ..Content::tcp("0")
    };
    for (content, told) in [
        (Content::tcp("80-81").with_group("web"), format!("{web}, TCP, from port: 80, to port: 81")),
        (
            with("icmp", Some("8")).with_cidr("10.0.0.0/8"),
            "10.0.0.0/8, ICMP, from port: 8, to port: -1".to_owned(),
        ),
        (with("58", None).with_cidr("::/0"), "::/0, ICMPV6, from port: -1, to port: -1".to_owned()),
        (with("47", None).with_cidr("10.0.0.0/8"), "10.0.0.0/8, 47".to_owned()),
    ] {
        add(&mut state, "web", &content).unwrap();
        let expected =
            format!("InvalidPermission.Duplicate: the specified rule \"peer: {told}, ALLOW\" already exists");
        refuses(&mut state, &content, &expected);
    }
}

#[test]
fn m24_rules_of_the_default_group_may_be_changed() {
    let (mut state, _) = with_web();
    let before = state.clone();
    let ssh = Content::tcp("22").with_cidr("10.0.0.0/8");
    add(&mut state, "default", &ssh).unwrap();
    remove(&mut state, "default", &Which::Content(ssh)).unwrap();
    assert_eq!(state, before);
    let itself = Content::all(Direction::Ingress).with_group("default");
    assert_eq!(remove(&mut state, "default", &Which::Content(itself)).unwrap().len(), 1);
}

#[test]
fn a67_a_referenced_group_must_exist() {
    let (mut state, _) = with_web();
    refuses(
        &mut state,
        &Content::tcp("22").with_group("sg-12345678"),
        "InvalidGroup.NotFound: The security group 'sg-12345678' does not exist",
    );
}

#[test]
fn a67b_a_group_of_another_vpc_cannot_be_referenced() {
    let (mut state, _) = with_web();
    let id = VpcId::random();
    state.vpcs.insert(id, Vpc { id, is_default: false, cidrs: Vec::new(), tags: Default::default() });
    let create = group::Create { vpc: Some(id.to_string()), ..group::Create::new("far", "test") };
    let far = group::create(&mut state, &create).unwrap();
    refuses(
        &mut state,
        &Content::tcp("22").with_group(&far.to_string()),
        "InvalidGroup.NotFound: You have specified two resources that belong to different networks.",
    );
}

#[test]
fn m34_m45_sixty_rules_for_each_direction_and_family() {
    let (mut state, _) = with_web();
    let full = (0..60).fold(Content::tcp("22"), |c, n| c.with_cidr(&format!("10.0.{n}.0/24")));
    add(&mut state, "web", &full).unwrap();
    let limit = "RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group has been reached. It is 60 \
         for each direction and family; 'sg-ctl quota rules-per-group=N' raises it";
    refuses(&mut state, &Content::tcp("22").with_cidr("10.1.0.0/24"), limit);
    // A group counts in both families (M-45).
    refuses(&mut state, &Content::tcp("22").with_group("web"), limit);
    // The other family and the other direction have their own count.
    add(&mut state, "web", &Content::tcp("22").with_cidr("2001:db8::/32")).unwrap();
    let outbound = Content { direction: Direction::Egress, ..Content::tcp("22").with_cidr("10.1.0.0/24") };
    add(&mut state, "web", &outbound).unwrap();
}

#[test]
fn rules_are_removed_by_id() {
    let (mut state, _) = with_web();
    let before = state.clone();
    let added = add(&mut state, "web", &Content::tcp("22").with_cidr("10.0.0.0/8")).unwrap();
    let id = added.rules[0].to_string();
    let removed = remove(&mut state, "web", &Which::Ids(vec![id.clone(), id])).unwrap();
    assert_eq!(removed.len(), 1);
    assert_eq!(state, before);
}

#[test]
fn a68_an_unknown_rule_id_refuses_all() {
    let (mut state, _) = with_web();
    let added = add(&mut state, "web", &Content::tcp("22").with_cidr("10.0.0.0/8")).unwrap();
    let before = state.clone();
    let ids = Which::Ids(vec![added.rules[0].to_string(), "sgr-12345678".to_owned()]);
    assert_eq!(
        refused(remove(&mut state, "web", &ids)),
        "InvalidSecurityGroupRuleId.NotFound: The security group rule ID 'sgr-12345678' does not exist"
    );
    assert_eq!(state, before);
    // A rule of another group is not this group's.
    let elsewhere = Which::Ids(vec![added.rules[0].to_string()]);
    assert_eq!(
        refusal(remove(&mut state, "default", &elsewhere)).code,
        "InvalidSecurityGroupRuleId.NotFound"
    );
    let malformed = Which::Ids(vec!["sgr-1".to_owned()]);
    assert_eq!(refusal(remove(&mut state, "web", &malformed)).code, "InvalidSecurityGroupRuleId.Malformed");
}

#[test]
fn m19_content_names_a_rule_whatever_its_description() {
    let (mut state, _) = with_web();
    let mut content = Content::tcp("22").with_cidr("10.0.0.0/8").with_group("web");
    content.description = Some("from the office".to_owned());
    add(&mut state, "web", &content).unwrap();
    content.description = None;
    assert_eq!(remove(&mut state, "web", &Which::Content(content)).unwrap().len(), 2);
}

#[test]
fn a66b_content_that_is_absent_refuses_all() {
    let (mut state, web) = with_web();
    add(&mut state, "web", &Content::tcp("22").with_cidr("10.0.0.0/8")).unwrap();
    let before = state.clone();
    let wanted = Content::tcp("22").with_cidr("10.0.0.0/8").with_cidr("10.0.0.0/9");
    let expected = format!(
        "InvalidPermission.NotFound: The specified rule does not exist in this security group; 'sg-ctl rule list {web}' \
         shows those that do"
    );
    assert_eq!(refused(remove(&mut state, "web", &Which::Content(wanted))), expected);
    assert_eq!(state, before);
}

#[test]
fn rules_list_by_group_and_direction() {
    let (mut state, web) = with_web();
    add(&mut state, "web", &Content::tcp("22").with_cidr("10.0.0.0/8")).unwrap();
    let listed = list(&state, Some("web")).unwrap();
    let directions: Vec<_> = listed.iter().map(|id| state.rules[id].direction).collect();
    assert_eq!(directions, [Direction::Ingress, Direction::Egress, Direction::Egress]);
    assert!(listed.iter().all(|id| state.rules[id].group == web));
    assert_eq!(list(&state, None).unwrap().len(), 6);
}
