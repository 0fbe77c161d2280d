//! Tests of [`super`], apart for the length of the file.

use super::*;
use crate::ops::testing::{refusal, refused, state};

/// A state with a list `offices` of that many entries at most.
fn with_offices(max_entries: u32, entries: &[&str]) -> (State, PrefixListId) {
    let (mut state, _) = state();
    let request = prefix_list::Create {
        name: "offices".to_owned(),
        family: AddressFamily::Ipv4,
        max_entries: max_entries.to_string(),
        entries: entries.iter().map(ToString::to_string).collect(),
        tags: Vec::new(),
    };
    let id = prefix_list::create(&mut state, &request).unwrap();
    (state, id)
}

fn texts(typed: &[&str]) -> Vec<String> {
    typed.iter().map(ToString::to_string).collect()
}

fn add_to(state: &mut State, typed: &[&str]) -> Result<PrefixListId> {
    add(state, "offices", &texts(typed), None)
}

fn remove_from(state: &mut State, typed: &[&str]) -> Result<PrefixListId> {
    remove(state, "offices", &texts(typed), None)
}

fn import_into(state: &mut State, text: &str, replace: bool) -> Result<Imported> {
    import(state, "offices", File { name: "f", text, replace }, None, |_| {})
}

/// `CIDR` or `CIDR=DESCRIPTION` of each entry of a version.
fn at(state: &State, id: PrefixListId, version: u32) -> Vec<String> {
    let entry = |(cidr, text): (IpNet, Option<&str>)| match text {
        Some(text) => format!("{cidr}={text}"),
        None => cidr.to_string(),
    };
    state.prefix_lists[&id].at(version).map(entry).collect()
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
fn m53_each_change_of_entries_is_a_version() {
    let (mut state, id) = with_offices(5, &["10.0.0.0/8"]);
    add_to(&mut state, &["192.0.2.1/24=Main office", "198.51.100.0/24"]).unwrap();
    remove_from(&mut state, &["10.0.0.9/8"]).unwrap();
    assert_eq!(state.prefix_lists[&id].version, 3);
    assert_eq!(state.prefix_lists[&id].state, PrefixListState::ModifyComplete);
    assert_eq!(at(&state, id, 1), ["10.0.0.0/8"]);
    assert_eq!(at(&state, id, 2), ["10.0.0.0/8", "192.0.2.0/24=Main office", "198.51.100.0/24"]);
    assert_eq!(at(&state, id, 3), ["192.0.2.0/24=Main office", "198.51.100.0/24"]);
}

#[test]
fn m54_a_caller_that_knows_another_version_is_refused() {
    let (mut state, _) = with_offices(5, &["10.0.0.0/8"]);
    let entries = texts(&["192.0.2.0/24"]);
    add(&mut state, "offices", &entries, Some("1")).unwrap();
    let expected = "PrefixListVersionMismatch: The prefix list has the incorrect version number.";
    for current in ["1", "3", "x"] {
        refuses(&mut state, |s| remove(s, "offices", &entries, Some(current)), expected);
        refuses(&mut state, |s| add(s, "offices", &texts(&["1.0.0.0/8"]), Some(current)), expected);
        refuses(&mut state, |s| restore(s, "offices", "1", Some(current)), expected);
        let file = File { name: "f", text: "", replace: false };
        refuses(&mut state, |s| import(s, "offices", file, Some(current), |_| {}), expected);
    }
    remove(&mut state, "offices", &entries, Some("2")).unwrap();
}

#[test]
fn m55_a27_restoring_makes_a_new_version_with_the_old_entries() {
    let (mut state, id) = with_offices(5, &["10.0.0.0/8=Old", "192.0.2.0/24"]);
    add_to(&mut state, &["10.0.0.0/8=New", "198.51.100.0/24"]).unwrap();
    remove_from(&mut state, &["192.0.2.0/24"]).unwrap();
    restore(&mut state, "offices", "1", None).unwrap();
    let list = &state.prefix_lists[&id];
    assert_eq!((list.version, list.state), (4, PrefixListState::RestoreComplete));
    assert_eq!(at(&state, id, 4), at(&state, id, 1));
    assert_eq!(at(&state, id, 3), ["10.0.0.0/8=New", "198.51.100.0/24"]);
    assert_eq!(at(&state, id, 2), ["10.0.0.0/8=New", "192.0.2.0/24", "198.51.100.0/24"]);
    // Also what the list holds now can be restored.
    restore(&mut state, "offices", "4", None).unwrap();
    assert_eq!(at(&state, id, 5), at(&state, id, 1));
}

#[test]
fn m55_a73_a_version_that_is_not_there_cannot_be_restored() {
    let (mut state, _) = with_offices(5, &["10.0.0.0/8"]);
    let expected = "PrefixListVersionMismatch: The prefix list has the incorrect version number.";
    for version in ["0", "2"] {
        refuses(&mut state, |s| restore(s, "offices", version, None), expected);
    }
    refuses(
        &mut state,
        |s| restore(s, "offices", "x", None),
        "InvalidParameterValue: Value (x) for --version",
    );
}

#[test]
fn m55_what_a_smaller_list_has_no_room_for_cannot_be_restored() {
    let (mut state, _) = with_offices(2, &["10.0.0.0/8", "192.0.2.0/24"]);
    remove_from(&mut state, &["10.0.0.0/8"]).unwrap();
    prefix_list::resize(&mut state, "offices", "1").unwrap();
    refuses(&mut state, |s| restore(s, "offices", "1", None), "PrefixListMaxEntriesExceeded: ");
}

#[test]
fn m39_the_oldest_version_is_dropped() {
    let (mut state, id) = with_offices(9, &["10.0.0.0/8"]);
    state.quotas.0.insert(Quota::VersionsPerPrefixList, 3);
    add_to(&mut state, &["192.0.2.0/24"]).unwrap();
    remove_from(&mut state, &["10.0.0.0/8"]).unwrap();
    assert_eq!(state.prefix_lists[&id].oldest, 1);
    assert_eq!(state.prefix_lists[&id].entries.len(), 2);
    add_to(&mut state, &["198.51.100.0/24"]).unwrap();
    let list = &state.prefix_lists[&id];
    assert_eq!((list.oldest, list.version), (2, 4));
    assert_eq!(at(&state, id, 2), ["10.0.0.0/8", "192.0.2.0/24"], "the oldest that is kept is whole");
    remove_from(&mut state, &["198.51.100.0/24"]).unwrap();
    assert_eq!(state.prefix_lists[&id].entries.len(), 2, "10.0.0.0/8 is in no version any more");
    refuses(&mut state, |s| restore(s, "offices", "2", None), "PrefixListVersionMismatch: ");
    restore(&mut state, "offices", "4", None).unwrap();
    assert_eq!(at(&state, id, 6), ["192.0.2.0/24", "198.51.100.0/24"]);
}

#[test]
fn m56_a73_at_most_a_hundred_entries_in_a_request() {
    let (mut state, _) = with_offices(1000, &[]);
    let many: Vec<String> = (0..101).map(|n| format!("10.0.{n}.0/24")).collect();
    let expected = "InvalidParameterValue: The number of entries per request cannot exceeds limit (100).";
    refuses(&mut state, |s| add(s, "offices", &many, None), expected);
    add(&mut state, "offices", &many[..100], None).unwrap();
    add(&mut state, "offices", &many[100..], None).unwrap();
    refuses(&mut state, |s| remove(s, "offices", &many, None), expected);
    let create = prefix_list::Create {
        name: "x".to_owned(),
        family: AddressFamily::Ipv4,
        max_entries: "1000".to_owned(),
        entries: many,
        tags: Vec::new(),
    };
    refuses(&mut state, |s| prefix_list::create(s, &create), expected);
}

#[test]
fn m57_no_prefix_is_twice_in_a_list() {
    let (mut state, id) = with_offices(5, &["10.0.0.0/8=Old"]);
    let there =
        format!("InvalidPrefixListModification: The CIDR 10.0.0.0/8 is in the prefix list {id} already");
    refuses(&mut state, |s| add_to(s, &["192.0.2.0/24", "10.0.0.1/8"]), &there);
    refuses(&mut state, |s| add_to(s, &["10.0.0.0/8=Old"]), &there);
    let twice = "InvalidParameterValue: The same CIDR must not appear multiple times: 192.0.2.0/24";
    refuses(&mut state, |s| add_to(s, &["192.0.2.0/24", "192.0.2.1/24"]), twice);
    refuses(&mut state, |s| add_to(s, &["192.0.2.0/24=a", "192.0.2.0/24=b"]), twice);
}

#[test]
fn m57_a26_another_description_replaces_the_old_one() {
    let (mut state, id) = with_offices(1, &["10.0.0.0/8=Old"]);
    add_to(&mut state, &["10.0.0.0/8=New"]).unwrap();
    add_to(&mut state, &["10.0.0.0/8="]).unwrap();
    let versions: Vec<_> = (1..=3).flat_map(|version| at(&state, id, version)).collect();
    assert_eq!(versions, ["10.0.0.0/8=Old", "10.0.0.0/8=New", "10.0.0.0/8"]);
    let longest = "ü".repeat(255);
    add_to(&mut state, &[&format!("10.0.0.0/8={longest}")]).unwrap();
    let expected = "InvalidParameterValue: The description of entry 10.0.0.0/8 is longer than 255 characters";
    refuses(&mut state, |s| add_to(s, &[&format!("10.0.0.0/8={longest}x")]), expected);
}

#[test]
fn a73_what_is_absent_cannot_be_removed() {
    let (mut state, id) = with_offices(5, &["10.0.0.0/8", "192.0.2.0/24"]);
    let expected =
        format!("InvalidPrefixListModification: The CIDR 10.0.0.0/9 in the prefix list {id} does not exist.");
    refuses(&mut state, |s| remove_from(s, &["192.0.2.0/24", "10.0.0.0/9"]), &expected);
    refuses(
        &mut state,
        |s| remove_from(s, &["192.0.2.0/24=x"]),
        "InvalidParameterValue: An entry is removed by",
    );
    remove_from(&mut state, &["10.0.0.0/8"]).unwrap();
    assert_eq!(refusal(remove_from(&mut state, &["10.0.0.0/8"])).code, "InvalidPrefixListModification");
    // What went may come again.
    add_to(&mut state, &["10.0.0.0/8"]).unwrap();
    assert_eq!(at(&state, id, 3), at(&state, id, 1));
}

#[test]
fn a73_a_full_list_takes_no_more() {
    let (mut state, id) = with_offices(1, &["10.0.0.0/8"]);
    let expected = format!(
        "PrefixListMaxEntriesExceeded: The prefix list offices ({id}) holds at most 1 entries, and would have 2; 'sg-ctl \
         prefix-list resize' makes it larger"
    );
    refuses(&mut state, |s| add_to(s, &["192.0.2.0/24"]), &expected);
    refuses(&mut state, |s| import_into(s, "192.0.2.0/24", false), &expected);
    import_into(&mut state, "192.0.2.0/24", true).unwrap();
    assert_eq!(at(&state, id, 2), ["192.0.2.0/24"]);
}

#[test]
fn m51_m45_only_prefixes_of_its_family() {
    let (mut state, _) = with_offices(5, &[]);
    let expected = "InvalidParameterValue: CIDR block ::/0 is not IPv4, the prefix list's address family";
    refuses(&mut state, |s| add_to(s, &["::/0"]), expected);
    refuses(
        &mut state,
        |s| add_to(s, &["10.0.0.1"]),
        "InvalidParameterValue: CIDR block 10.0.0.1 is malformed; write 10.0.0.1/32 for the single address",
    );
}

#[test]
fn m56_an_import_takes_any_number_in_one_version() {
    let (mut state, id) = with_offices(1000, &["10.0.0.0/8=Kept"]);
    let lines: String = (0..500).map(|n| format!("192.0.{}.{}/32\n", n / 256, n % 256)).collect();
    let text = format!("\u{feff}# a feed\r\n\r\n 10.0.0.1/8\t# there already\r\n{lines}192.0.0.1/32");
    let imported = import_into(&mut state, &text, false).unwrap();
    assert_eq!(imported, Imported { list: id, added: 500, removed: 0, repeated: 2 });
    let list = &state.prefix_lists[&id];
    assert_eq!((list.version, list.len()), (2, 501));
    assert_eq!(at(&state, id, 2)[0], "10.0.0.0/8=Kept");
    // The same once more changes nothing, and is no new version.
    let before = state.clone();
    assert_eq!(import_into(&mut state, &text, false).unwrap().added, 0);
    assert_eq!(state, before);
}

#[test]
fn an_import_that_replaces_leaves_what_the_file_has() {
    let (mut state, id) = with_offices(5, &["10.0.0.0/8", "192.0.2.0/24=Kept"]);
    let imported = import_into(&mut state, "192.0.2.0/24\n198.51.100.0/24\n", true).unwrap();
    assert_eq!(imported, Imported { list: id, added: 1, removed: 1, repeated: 1 });
    assert_eq!(at(&state, id, 2), ["192.0.2.0/24=Kept", "198.51.100.0/24"]);
}

#[test]
fn a_line_that_cannot_be_read_refuses_the_file_and_is_named() {
    let (mut state, _) = with_offices(5, &[]);
    for (line, why) in [
        ("10.0.0.0/33", "CIDR block 10.0.0.0/33 is malformed; write it like 10.0.0.0/8 or 2001:db8::/32"),
        ("10.0.0.1 # bare", "CIDR block 10.0.0.1 is malformed; write 10.0.0.1/32 for the single address"),
        (
            "10.0.0.0/8 192.0.2.0/24",
            "CIDR block 10.0.0.0/8 192.0.2.0/24 is malformed; write it like 10.0.0.0/8 or 2001:db8::/32",
        ),
        ("::/0", "CIDR block ::/0 is not IPv4, the prefix list's address family"),
    ] {
        let expected =
            format!("InvalidParameterValue: f:3: {why} (the line is '{line}'); nothing was imported");
        refuses(&mut state, |s| import_into(s, &format!("10.0.0.0/8\n#\n{line}\n"), false), &expected);
    }
    let long = "x".repeat(1000);
    assert!(refused(import_into(&mut state, &long, false)).len() < 1300);
}

#[test]
fn an_import_tells_how_far_it_is() {
    let (mut state, _) = with_offices(5, &[]);
    let text = "#\n".repeat(10_000);
    let mut told = Vec::new();
    let file = File { name: "f", text: &text, replace: false };
    import(&mut state, "offices", file, None, |lines| told.push(lines)).unwrap();
    assert_eq!(told, [0, 4096, 8192]);
}
