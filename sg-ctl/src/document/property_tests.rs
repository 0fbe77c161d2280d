//! Whatever the state: its document changes nothing where it came from, and makes the same state elsewhere.

use super::{NOW, apply, rules_of, source, yaml};
use crate::{
    document::{How, plan},
    model::{AddressFamily, Direction, Key, Object, Objects, Quota, State},
    ops::{
        group,
        interface::tests::attached,
        peering, prefix_list, quota,
        rule::{self, Content},
        tag, vpc,
    },
};
use proptest::{collection::vec, prelude::*, sample::select};

/// A step towards a state. What is refused is no step, and so numbers may say what they like.
#[derive(Clone, Debug)]
enum Step {
    Vpc {
        name: &'static str,
        cidr: Option<&'static str>,
    },
    Group {
        vpc: usize,
        name: &'static str,
        tags: Vec<(&'static str, &'static str)>,
    },
    Rule {
        group: usize,
        egress: bool,
        traffic: (&'static str, Option<&'static str>),
        peer: Peer,
        text: &'static str,
    },
    List {
        name: &'static str,
        family: AddressFamily,
        entries: Vec<&'static str>,
    },
    Peering {
        one: usize,
        other: usize,
        accepted: bool,
    },
    Carry {
        groups: Vec<usize>,
    },
    EndPeering(usize),
    DeleteGroup(usize),
    DeleteRule(usize),
    Quota(u32),
}

#[derive(Clone, Debug)]
enum Peer {
    Cidr(&'static str),
    Group(usize),
    List(usize),
}

/// Texts that YAML likes to read as something else.
const TEXTS: [&str; 12] =
    ["", "no", "12", "0x10", "a: b", "#x", "{a}", "- a", "it's \"q\"", "&a *b", "trailing ", "1.2.3.4"];
const NAMES: [&str; 9] = ["web", "Web", "no", "12", "a/b", "b", "a", "null", "default "];

fn step() -> impl Strategy<Value = Step> {
    let cidrs = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "2001:db8::/32", "::/0", "192.0.2.1/32"];
    let traffic = [
        ("tcp", Some("22")),
        ("tcp", Some("0-65535")),
        ("udp", Some("53-54")),
        ("all", None),
        ("icmp", None),
        ("icmpv6", None),
        ("47", None),
        ("0", None),
    ];
    let family = select(vec![AddressFamily::Ipv4, AddressFamily::Ipv6]);
    let peer = prop_oneof![
        3 => select(cidrs.to_vec()).prop_map(Peer::Cidr),
        3 => any::<usize>().prop_map(Peer::Group),
        1 => any::<usize>().prop_map(Peer::List),
    ];
    let tags = || vec((select(NAMES.to_vec()), select(TEXTS.to_vec())), 0..3);
    prop_oneof![
        2 => (select(NAMES.to_vec()), proptest::option::of(select(vec!["10.1.0.0/16", "10.1.2.0/24", "2001:db8::/56"])))
            .prop_map(|(name, cidr)| Step::Vpc { name, cidr }),
        6 => (any::<usize>(), select(NAMES.to_vec()), tags()).prop_map(|(vpc, name, tags)| Step::Group { vpc, name, tags }),
        12 => (any::<usize>(), any::<bool>(), select(traffic.to_vec()), peer, select(TEXTS.to_vec()))
            .prop_map(|(group, egress, traffic, peer, text)| Step::Rule { group, egress, traffic, peer, text }),
        2 => (select(NAMES.to_vec()), family, vec(select(cidrs.to_vec()), 0..4))
            .prop_map(|(name, family, entries)| Step::List { name, family, entries }),
        2 => (any::<usize>(), any::<usize>(), any::<bool>())
            .prop_map(|(one, other, accepted)| Step::Peering { one, other, accepted }),
        1 => vec(any::<usize>(), 1..4).prop_map(|groups| Step::Carry { groups }),
        1 => any::<usize>().prop_map(Step::EndPeering),
        1 => any::<usize>().prop_map(Step::DeleteGroup),
        2 => any::<usize>().prop_map(Step::DeleteRule),
        1 => (50..100_u32).prop_map(Step::Quota),
    ]
}

fn nth<K: Key + ToString, V: Object>(map: &Objects<K, V>, n: usize) -> String {
    map.keys().nth(n % map.len().max(1)).map_or_else(String::new, ToString::to_string)
}

/// Takes a step, or does not.
fn take(state: &mut State, step: &Step) {
    let taken = match step {
        Step::Vpc { name, cidr } => {
            let cidrs: Vec<String> = cidr.iter().map(ToString::to_string).collect();
            vpc::create(state, name, &cidrs).map(drop_id)
        }
        Step::Group { vpc, name, tags } => {
            let create = group::Create {
                vpc: Some(nth(&state.vpcs, *vpc)),
                tags: tags.iter().map(|(key, value)| format!("{key}={value}")).collect(),
                ..group::Create::new(name, "made for a test")
            };
            group::create(state, &create).map(drop_id)
        }
        Step::Rule { group, egress, traffic: (protocol, port), peer, text } => {
            let group = nth(&state.groups, *group);
            let mut content = Content::tcp("1");
            content.direction = if *egress { Direction::Egress } else { Direction::Ingress };
            (content.protocol, content.port) = ((*protocol).to_owned(), port.map(str::to_owned));
            content.description = Some((*text).to_owned());
            let content = match peer {
                Peer::Cidr(cidr) => content.with_cidr(cidr),
                Peer::Group(n) => content.with_group(&nth(&state.groups, *n)),
                Peer::List(n) => content.with_list(&nth(&state.prefix_lists, *n)),
            };
            rule::add(state, &group, &content).map(|_| ())
        }
        Step::List { name, family, entries } => {
            let request = prefix_list::Create {
                name: (*name).to_owned(),
                family: *family,
                max_entries: "5".to_owned(),
                entries: entries.iter().map(|cidr| format!("{cidr}=no")).collect(),
                tags: vec!["Name=no".to_owned()],
            };
            prefix_list::create(state, &request).map(drop_id)
        }
        Step::Peering { one, other, accepted } => {
            let (one, other) = (nth(&state.vpcs, *one), nth(&state.vpcs, *other));
            peering::create(state, &one, &other, NOW).and_then(|peering| match accepted {
                true => peering::accept(state, &peering.id.to_string(), NOW).map(drop_id),
                false => Ok(()),
            })
        }
        Step::Carry { groups } => {
            let groups: Vec<String> = groups.iter().map(|n| nth(&state.groups, *n)).collect();
            crate::ops::interface::set_groups(state, None, "eth0", &groups).map(drop_id)
        }
        Step::EndPeering(n) => {
            let id = nth(&state.peerings, *n);
            peering::delete(state, &id, NOW).map(drop_id)
        }
        Step::DeleteGroup(n) => group::delete(state, &nth(&state.groups, *n)).map(drop_id),
        Step::DeleteRule(n) => {
            let id = state.rules.keys().nth(n % state.rules.len().max(1)).copied();
            id.map(|id| state.rules.remove(&id));
            Ok(())
        }
        Step::Quota(value) => quota::set(state, &[format!("vpcs={value}")]),
    };
    // A refused step leaves the state as it was.
    let _ = taken;
}

fn drop_id<T>(_: T) {}

/// Without what is an id.
fn without_ids(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("id: "))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn new_state() -> State {
    let mut state = State::default();
    vpc::ensure_default_vpc(&mut state);
    attached(&mut state, "eth0", None);
    state
}

/// Whether a rule names what is not there any more, or no peering reaches: nobody could make it anew.
fn is_stale(state: &State) -> bool {
    state.rules.values().any(|rule| {
        let crate::model::Peer::Group(id) = rule.peer else { return false };
        let vpc = |id| state.groups.get(&id).map(|group| group.vpc);
        match (vpc(rule.group), vpc(id)) {
            (Some(one), Some(other)) => !state.may_reference(one, other),
            _ => true,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_document_changes_nothing_at_home_and_makes_the_same_elsewhere(steps in vec(step(), 0..60)) {
        let mut state = new_state();
        state.quotas.0.insert(Quota::Vpcs, 50);
        steps.iter().for_each(|step| take(&mut state, step));
        let text = yaml(&state);
        for prune in [false, true] {
            let document = source(&text).read().unwrap();
            let planned = plan(&state, &document, &How { prune, netns: None, now: NOW + 1 });
            let planned = planned.unwrap_or_else(|error| panic!("{error:#}\n{text}"));
            prop_assert!(planned.state == state, "prune {prune}\n{text}");
            prop_assert!(planned.warnings.is_empty());
        }
        if is_stale(&state) {
            return Ok(());
        }
        let mut other = new_state();
        let lines = apply(&mut other, &text, true);
        prop_assert_eq!(without_ids(&yaml(&other)), without_ids(&text));
        prop_assert!(lines.len() >= state.groups.len() - 1);
        // And from a state that is something else altogether.
        let mut third = new_state();
        steps.iter().rev().for_each(|step| take(&mut third, step));
        third.peerings.clear();
        if let Ok(planned) = plan(&third, &source(&text).read().unwrap(), &How { prune: true, netns: None, now: NOW }) {
            // Names of groups are fixed, however they are spelled.
            prop_assert_eq!(without_ids(&yaml(&planned.state)).to_lowercase(), without_ids(&text).to_lowercase());
        }
    }
}

#[test]
fn the_steps_come_to_something() {
    let mut state = new_state();
    for step in [
        Step::Vpc { name: "web", cidr: Some("10.1.0.0/16") },
        Step::Group { vpc: 0, name: "web", tags: vec![("a", "no")] },
        Step::Peering { one: 0, other: 1, accepted: true },
    ] {
        take(&mut state, &step);
    }
    let group = state.groups.values().find(|group| group.name == "web").unwrap();
    assert_eq!(group.tags, tag::parse(&["a=no".to_owned()]).unwrap());
    assert_eq!(rules_of(&state, group.vpc, "web").len() / 3, 0);
    assert_eq!((state.vpcs.len(), state.peerings.len()), (2, 1));
}
