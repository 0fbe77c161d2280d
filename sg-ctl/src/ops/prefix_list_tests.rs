//! Tests of [`super`] and of rules that name lists, apart for the length of the file.

use super::*;
use crate::ops::{
    copy,
    rule::{Content, add},
    testing::{group, refusal, refused, state},
};

/// What was typed for an IPv4 list.
fn create_of(name: &str, max_entries: &str, entries: &[&str]) -> Create {
    Create {
        name: name.to_owned(),
        family: AddressFamily::Ipv4,
        max_entries: max_entries.to_owned(),
        entries: entries.iter().map(ToString::to_string).collect(),
        tags: Vec::new(),
    }
}

/// A state with a group `web` and an IPv4 list `offices`.
fn with_offices(max_entries: &str, entries: &[&str]) -> (State, PrefixListId) {
    let (mut state, _) = state();
    group(&mut state, "web");
    let id = create(&mut state, &create_of("offices", max_entries, entries)).unwrap();
    (state, id)
}

/// Asserts that the call is refused so and changes nothing.
#[track_caller]
fn refuses<T: std::fmt::Debug>(state: &mut State, op: impl FnOnce(&mut State) -> Result<T>, expected: &str) {
    let before = state.clone();
    let said = refused(op(state));
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(*state, before);
}

#[test]
fn a25_m53_a_new_list_is_at_version_1_and_its_entries_are_canonical() {
    let (mut state, _) = state();
    let request = Create {
        tags: vec!["Name=Offices".to_owned()],
        ..create_of("offices ", "5", &["10.0.0.1/8=All of it", "192.0.2.0/24", "0.0.0.0/0="])
    };
    let id = create(&mut state, &request).unwrap();
    let list = &state.prefix_lists[&id];
    assert_eq!((list.name.as_str(), list.version, list.max_entries), ("offices", 1, 5));
    assert_eq!(list.tags["Name"], "Offices");
    let entries: Vec<_> = list.current().map(|(cidr, text)| (cidr.to_string(), text)).collect();
    let expected = [("0.0.0.0/0", None), ("10.0.0.0/8", Some("All of it")), ("192.0.2.0/24", None)];
    assert_eq!(entries, expected.map(|(cidr, text)| (cidr.to_owned(), text)));
}

#[test]
fn m51_an_entry_of_the_other_family_is_refused() {
    let (mut state, _) = state();
    let expected = "InvalidParameterValue: CIDR block 2001:db8::/32 is not IPv4";
    refuses(&mut state, |s| create(s, &create_of("x", "5", &["10.0.0.0/8", "2001:db8::/32"])), expected);
    let v6 = Create { family: AddressFamily::Ipv6, ..create_of("x", "5", &["10.0.0.0/8"]) };
    refuses(&mut state, |s| create(s, &v6), "InvalidParameterValue: CIDR block 10.0.0.0/8 is not IPv6");
}

#[test]
fn m40_m52_max_entries_is_1_to_the_quota() {
    let (mut state, _) = state();
    for (typed, expected) in [
        ("0", "InvalidParameterValue: Must specify a max size between 1 and 1000: '0' is none"),
        ("-1", "InvalidParameterValue: Must specify a max size between 1 and 1000: '-1' is none"),
        ("ten", "InvalidParameterValue: Must specify a max size between 1 and 1000: 'ten' is none"),
        (
            "1001",
            "InvalidParameterValue: Must specify a max size between 1 and 1000; 'sg-ctl quota \
             entries-per-prefix-list=1001' raises the limit",
        ),
    ] {
        refuses(&mut state, |s| create(s, &create_of("x", typed, &[])), expected);
    }
    create(&mut state, &create_of("x", "1000", &[])).unwrap();
    state.quotas.0.insert(Quota::EntriesPerPrefixList, 1_000_000);
    create(&mut state, &create_of("y", "1000000", &[])).unwrap();
}

#[test]
fn a73_more_entries_than_the_list_may_have_are_refused() {
    let (mut state, _) = state();
    let request = create_of("x", "1", &["10.0.0.0/8", "192.0.2.0/24"]);
    let message = "PrefixListMaxEntriesExceeded: The prefix list x is to hold at most 1 entries, and 2 are given; give a larger \
                   maximum of entries, or fewer of them";
    refuses(&mut state, |s| create(s, &request), message);
}

#[test]
fn m38_as_many_lists_as_the_quota_says() {
    let (mut state, _) = state();
    for n in 0..100 {
        create(&mut state, &create_of(&n.to_string(), "1", &[])).unwrap();
    }
    let expected = "PrefixListLimitExceeded: There are 100 prefix lists, which is the quota; delete one, or raise it \
                    with 'sg-ctl quota prefix-lists=101'";
    refuses(&mut state, |s| create(s, &create_of("one more", "1", &[])), expected);
    state.quotas.0.insert(Quota::PrefixLists, 101);
    create(&mut state, &create_of("one more", "1", &[])).unwrap();
}

#[test]
fn m44_tags_are_checked_when_a_list_is_made() {
    let (mut state, _) = state();
    let request = Create { tags: vec!["aws:x=1".to_owned()], ..create_of("x", "1", &[]) };
    refuses(&mut state, |s| create(s, &request), "InvalidTagKey.Malformed: ");
}

#[test]
fn m60_names_are_short_and_not_amazons() {
    let (mut state, id) = with_offices("5", &[]);
    let (longest, longer) = ("n".repeat(255), "n".repeat(256));
    create(&mut state, &create_of(&longest, "1", &[])).unwrap();
    for (name, expected) in [
        (longer.as_str(), "InvalidParameterValue: The name of a prefix list has at most 255 characters"),
        ("com.amazonaws.eu.s3", "InvalidParameterValue: The name of a prefix list may not begin with"),
        ("pl-mine", "InvalidParameterValue: The name of a prefix list may not begin with"),
        ("  ", "MissingParameter: The request must contain the parameter PrefixListName"),
    ] {
        refuses(&mut state, |s| create(s, &create_of(name, "1", &[])), expected);
        refuses(&mut state, |s| rename(s, "offices", name), expected);
    }
    // EC2 lets several lists bear one name; then only ids tell them apart.
    create(&mut state, &create_of("offices", "1", &[])).unwrap();
    assert_eq!(refusal(find(&state, "offices")).code, "InvalidParameterValue");
    assert_eq!(find(&state, &id.to_string()).unwrap(), id);
}

#[test]
fn a73_unknown_lists_have_ec2s_codes() {
    let (state, _) = with_offices("5", &[]);
    assert_eq!(
        refused(find(&state, "pl-12345678")),
        "InvalidPrefixListID.NotFound: The prefix list ID 'pl-12345678' does not exist"
    );
    assert_eq!(refusal(find(&state, "pl-x")).code, "InvalidPrefixListId.Malformed");
    assert_eq!(
        refused(find(&state, "ofices")),
        "InvalidPrefixListID.NotFound: The prefix list 'ofices' does not exist; did you mean 'offices'?"
    );
}

#[test]
fn m53_m63_size_and_name_make_no_version() {
    let (mut state, id) = with_offices("5", &["10.0.0.0/8"]);
    resize(&mut state, "offices", "7").unwrap();
    rename(&mut state, "offices", "branches").unwrap();
    let list = &state.prefix_lists[&id];
    assert_eq!((list.version, list.max_entries, list.name.as_str()), (1, 7, "branches"));
    assert_eq!(list.state, PrefixListState::ModifyComplete);
}

#[test]
fn a26_a_list_does_not_shrink_below_its_entries() {
    let (mut state, _) = with_offices("5", &["10.0.0.0/8", "192.0.2.0/24"]);
    resize(&mut state, "offices", "2").unwrap();
    let expected = "PrefixListMaxEntriesExceeded: The prefix list offices (";
    refuses(&mut state, |s| resize(s, "offices", "1"), expected);
}

#[test]
fn m46_m48_a_rule_counts_the_maximum_of_entries_of_its_list() {
    let (mut state, _) = with_offices("55", &["10.0.0.0/8"]);
    add(&mut state, "web", &Content::tcp("22").with_list("offices")).unwrap();
    for n in 0..5 {
        add(&mut state, "web", &Content::tcp("22").with_cidr(&format!("192.0.2.{n}/32"))).unwrap();
    }
    let expected = "RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group has been reached.";
    let sixth = Content::tcp("22").with_cidr("192.0.2.5/32");
    refuses(&mut state, |s| add(s, "web", &sixth), expected);
    // The other family, and the other direction, have their own count (M-34, M-45).
    add(&mut state, "web", &Content::tcp("22").with_cidr("2001:db8::/32")).unwrap();
    let outbound = Content { direction: Direction::Egress, ..sixth };
    add(&mut state, "web", &outbound).unwrap();
}

#[test]
fn m49_a_list_grows_only_where_every_group_has_room() {
    let (mut state, id) = with_offices("40", &["10.0.0.0/8"]);
    let mut names = Vec::new();
    for n in 0..12 {
        let name = format!("g{n}");
        let full = group(&mut state, &name);
        let rules = (0..20).fold(Content::tcp("22").with_list("offices"), |content, n| {
            content.with_cidr(&format!("192.0.2.{n}/32"))
        });
        add(&mut state, &name, &rules).unwrap();
        names.push(format!("{full} ({name})"));
    }
    add(&mut state, "web", &Content::tcp("22").with_list("offices")).unwrap();
    let before = state.clone();
    let message = refusal(resize(&mut state, "offices", "41"));
    assert_eq!(state, before);
    assert_eq!(message.code, "RulesPerSecurityGroupLimitExceeded");
    let named = names.iter().filter(|name| message.message.contains(*name)).count();
    assert_eq!(named, 10, "{}", message.message);
    assert!(message.message.contains(" and 2 more"), "{}", message.message);
    assert!(!message.message.contains("(web)"), "it has room: {}", message.message);
    // Smaller is no question of room.
    resize(&mut state, "offices", "39").unwrap();
    resize(&mut state, "offices", "40").unwrap();
    state.quotas.0.insert(Quota::RulesPerGroup, 61);
    resize(&mut state, "offices", "41").unwrap();
    assert_eq!(state.prefix_lists[&id].max_entries, 41);
}

#[test]
fn m49_two_rules_of_one_group_grow_twice() {
    let (mut state, _) = with_offices("20", &[]);
    add(&mut state, "web", &Content::tcp("22").with_list("offices")).unwrap();
    add(&mut state, "web", &Content::tcp("80").with_list("offices")).unwrap();
    refuses(&mut state, |s| resize(s, "offices", "31"), "RulesPerSecurityGroupLimitExceeded: ");
    resize(&mut state, "offices", "30").unwrap();
}

#[test]
fn m41_as_many_references_as_the_quota_says() {
    let (mut state, id) = with_offices("1", &[]);
    state.quotas.0.insert(Quota::ReferencesPerPrefixList, 2);
    add(&mut state, "web", &Content::tcp("1").with_list("offices")).unwrap();
    add(&mut state, "default", &Content::tcp("2").with_list("offices")).unwrap();
    let expected = format!(
        "PrefixListReferenceLimitExceeded: 3 rules would name the prefix list {id}, more than the quota of 2; 'sg-ctl \
         quota references-per-prefix-list=3' raises it"
    );
    let copied = copy::Copy { group: "web".to_owned(), name: "copy".to_owned(), ..copy::Copy::default() };
    refuses(&mut state, |s| copy::copy(s, &copied), &expected);
    refuses(&mut state, |s| add(s, "web", &Content::tcp("3").with_list("offices")), &expected);
    state.quotas.0.insert(Quota::ReferencesPerPrefixList, 3);
    add(&mut state, "web", &Content::tcp("3").with_list("offices")).unwrap();
}

#[test]
fn m19_a49_a_rule_on_a_list_is_known_by_it() {
    let (mut state, id) = with_offices("5", &[]);
    add(&mut state, "web", &Content::tcp("22").with_list("OFFICES")).unwrap();
    let expected =
        format!("InvalidPermission.Duplicate: the specified rule \"peer: {id}, TCP, from port: 22");
    refuses(&mut state, |s| add(s, "web", &Content::tcp("22").with_list(&id.to_string())), &expected);
    let which = rule::Which::Content(Content::tcp("22").with_list("offices"));
    assert_eq!(rule::remove(&mut state, "web", &which).unwrap().len(), 1);
    let expected = "InvalidPrefixListID.NotFound: ";
    refuses(&mut state, |s| add(s, "web", &Content::tcp("22").with_list("pl-12345678")), expected);
}

#[test]
fn m59_a30_a_list_that_rules_name_stays() {
    let (mut state, id) = with_offices("5", &[]);
    let rules = add(&mut state, "web", &Content::tcp("22").with_list("offices")).unwrap().rules;
    let web = state.rules[&rules[0]].group;
    assert_eq!(associations(&state, id), BTreeSet::from([web]));
    let expected = format!(
        "DependencyViolation: resource {id} has a dependent object: rule {} of group web ({web})",
        rules[0]
    );
    refuses(&mut state, |s| delete(s, "offices"), &expected);
    rule::remove(&mut state, "web", &rule::Which::Ids(vec![rules[0].to_string()])).unwrap();
    assert_eq!(delete(&mut state, "offices").unwrap().id, id);
    assert!(state.prefix_lists.is_empty());
}

#[test]
fn a28_lists_are_listed_by_name() {
    let (mut state, offices) = with_offices("5", &[]);
    let branches = create(&mut state, &create_of("Branches", "1", &[])).unwrap();
    assert_eq!(list(&state), [branches, offices]);
}
