//! Tests of what is read of a store, and that it is the same as if all of it were.

use super::tests::{agrees, command, list, raw, store};
use crate::{
    error::{Result, or_given_up},
    model::{
        Attachment, Direction, Entries, EntryKey, Id, IdKind, Interface, Mode, Options, Peer, Rule, Side,
        Span, State, TimeoutSettings, Traffic,
    },
    ops::{
        entry, group, interface,
        register::{Register, deregister, register},
        rule::{self, Content, Which},
    },
    store::Store as _,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::{collection::vec, prelude::*};
use std::{net::Ipv4Addr, sync::Arc};

fn member(name: &str, address: &str, group: &str) -> Register {
    let one = |text: &str| vec![text.to_owned()];
    Register { name: name.to_owned(), addresses: one(address), groups: one(group), vpc: None }
}

#[test]
fn a_command_reads_nothing_that_is_not_its_own() {
    type Work = fn(&mut State) -> Result<()>;
    let commands: [(&str, Work); 9] = [
        ("rule add", |state| rule::add(state, "web", &Content::tcp("80").with_cidr("10.0.0.0/8")).map(drop)),
        ("rule add, of a group", |state| {
            rule::add(state, "web", &Content::tcp("80").with_group("db")).map(drop)
        }),
        ("rule add, of a list", |state| {
            rule::add(state, "web", &Content::tcp("80").with_list("offices")).map(drop)
        }),
        ("rule remove", |state| {
            let content = Content::tcp("22").with_cidr("10.0.0.0/8");
            rule::remove(state, "web", &Which::Content(content)).map(drop)
        }),
        ("prefix-list add", |state| {
            entry::add(state, "offices", &["192.0.2.0/24".to_owned()], None).map(drop)
        }),
        ("prefix-list remove", |state| {
            entry::remove(state, "offices", &["0.0.1.0/24".to_owned()], None).map(drop)
        }),
        ("register", |state| register(state, &member("m9", "10.0.0.9", "db")).map(drop)),
        ("deregister", |state| deregister(state, None, "m1").map(drop)),
        ("set-groups", |state| interface::set_groups(state, None, "m1", &["web".to_owned()]).map(drop)),
    ];
    for (name, work) in commands {
        let (store, _dir) = store();
        let mut of = None;
        command(&store, |state| {
            for name in ["web", "db", "other"] {
                group::create(state, &group::Create::new(name, "test")).unwrap();
            }
            rule::add(state, "web", &Content::tcp("22").with_cidr("10.0.0.0/8")).unwrap();
            rule::add(state, "other", &Content::tcp("22").with_cidr("10.0.0.0/8")).unwrap();
            for (name, address) in [("m1", "10.0.0.1"), ("m2", "10.0.0.2")] {
                register(state, &member(name, address, "db")).unwrap();
            }
            let id = list(state, 9);
            let mut far = state.prefix_lists[&id].clone();
            (far.id, far.name) = ("pl-12345678".parse().unwrap(), "branches".to_owned());
            state.prefix_lists.insert(far.id, far);
            let named = |name| state.interfaces.named(name).next().unwrap().id;
            of = Some((named("m1"), group::find_in_default_vpc(state, "web").unwrap(), id));
        });
        let (own, web, list) = of.unwrap();
        let broken = raw(&store)
            .execute_batch(&format!(
                "UPDATE objects SET body = '{{' WHERE kind = 'network-interface' AND id <> '{own}';
                 UPDATE objects SET body = '{{' WHERE kind = 'security-group-rule' AND body NOT LIKE '%\"{web}\"%';
                 UPDATE objects SET body = '{{' WHERE kind = 'security-group' AND body LIKE '%other%';
                 UPDATE objects SET body = '{{' WHERE kind = 'prefix-list' AND id <> '{list}';
                 UPDATE entries SET key = CAST(key || x'00' AS BLOB) WHERE hex(key) NOT LIKE '0400000100%';"
            ));
        broken.unwrap();
        let transaction = store.begin().unwrap();
        let mut state = transaction.snapshot().state.clone();
        let changed = or_given_up(|| {
            work(&mut state)?;
            transaction.commit(&state)
        });
        assert!(changed.is_ok_and(|revision| revision == 2), "{name}");
        let all = or_given_up(|| Ok(state.interfaces.values().count() + state.rules.values().count()));
        assert!(all.is_err(), "the broken rows would be noticed");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Rule(u8, u8, Option<Peer>),
    NoRule(u8),
    Interface(u8, Vec<u8>, Vec<u8>, Option<bool>),
    NoInterface(u8),
    /// Takes a group from an interface.
    Leave(u8),
    Entry(IpNet, u32, Option<u32>),
    NoEntry(IpNet, u32),
    /// Commits, and goes on with what is read.
    Commit,
}

/// The id of that number.
fn id<K: IdKind>(number: u8) -> Id<K> {
    format!("{}-{number:08x}", K::PREFIX).parse().unwrap()
}

fn net() -> impl Strategy<Value = IpNet> {
    // Few bits vary, so that prefixes lie within each other.
    let v4 = (0..4u32, 0..4u32, prop_oneof![0..=8u8, 24..=32u8]);
    let v4 = v4.prop_map(|(high, low, length)| {
        IpNet::from(Ipv4Net::new(Ipv4Addr::from(high << 30 | low), length).unwrap().trunc())
    });
    let v6 = (0..4u128, prop_oneof![0..=4u8, 126..=128u8]);
    let v6 = v6.prop_map(|(low, length)| {
        IpNet::from(Ipv6Net::new((low << 126 | low).into(), length).unwrap().trunc())
    });
    prop_oneof![v4, v6]
}

fn step() -> impl Strategy<Value = Step> {
    let peer = prop_oneof![
        Just(None),
        (0..4u8).prop_map(|n| Some(Peer::Group(id(n)))),
        Just(Some(Peer::PrefixList(id(0))))
    ];
    let groups = || vec(0..4u8, 1..3);
    prop_oneof![
        4 => (0..9u8, 0..4u8, peer).prop_map(|(rule, group, peer)| Step::Rule(rule, group, peer)),
        2 => (0..9u8).prop_map(Step::NoRule),
        4 => (0..9u8, groups(), vec(0..9u8, 0..3), any::<Option<bool>>())
            .prop_map(|(eni, groups, addresses, how)| Step::Interface(eni, groups, addresses, how)),
        2 => (0..9u8).prop_map(Step::NoInterface),
        2 => (0..9u8).prop_map(Step::Leave),
        6 => (net(), 1..4u32, proptest::option::of(4..7u32))
            .prop_map(|(net, since, until)| Step::Entry(net, since, until)),
        3 => (net(), 1..4u32).prop_map(|(net, since)| Step::NoEntry(net, since)),
        2 => Just(Step::Commit),
    ]
}

/// An interface that is registered, attached, or attached and observing.
fn eni(number: u8, groups: &[u8], addresses: &[u8], observes: Option<bool>) -> Interface {
    let attachment = observes.map(|observes| Attachment {
        slot: number.into(),
        ifindex: 2,
        namespace: 1,
        mac: [0; 6],
        side: Side::Host,
        mode: Mode::Tc,
        mode_reason: String::new(),
        options: Options::default(),
        timeouts: TimeoutSettings::default(),
        attached_since: 0,
        observe_until: observes.then_some(1),
    });
    Interface {
        id: id(number),
        name: format!("eth{}", number % 4),
        netns: None,
        vpc: id(1),
        groups: groups.iter().map(|n| id(*n)).collect(),
        addresses: addresses.iter().map(|n| Ipv4Addr::new(10, 0, 0, *n).into()).collect(),
        attachment,
        tags: Default::default(),
    }
}

fn take(state: &mut State, step: &Step) {
    match step {
        Step::Rule(rule, group, peer) => {
            let peer = peer.unwrap_or(Peer::Ipv4("10.0.0.0/8".parse().unwrap()));
            let rule = Rule::new(id(*rule), id(*group), Direction::Ingress, Traffic::All, peer);
            state.rules.insert(rule.id, rule);
        }
        Step::NoRule(rule) => drop(state.rules.remove(&id(*rule))),
        Step::Interface(number, groups, addresses, observes) => {
            let eni = eni(*number, groups, addresses, *observes);
            state.interfaces.insert(eni.id, eni);
        }
        Step::NoInterface(eni) => drop(state.interfaces.remove(&id(*eni))),
        Step::Leave(number) => {
            if let Some(eni) = state.interfaces.get_mut(&id(*number)) {
                eni.groups.truncate(1);
            }
        }
        Step::Entry(cidr, since, until) => {
            let span = Span { until: *until, description: until.map(|n| n.to_string()) };
            entries(state).insert(EntryKey { cidr: *cidr, since: *since }, span);
        }
        Step::NoEntry(cidr, since) => drop(entries(state).remove(&EntryKey { cidr: *cidr, since: *since })),
        Step::Commit => {}
    }
}

fn entries(state: &mut State) -> &mut Entries {
    let id = *state.prefix_lists.keys().next().unwrap();
    Arc::make_mut(&mut state.prefix_lists.get_mut(&id).unwrap().entries)
}

/// What is found by prefixes, against a look at each.
fn finds_prefixes(state: &State, cidr: IpNet) {
    let entries = &state.prefix_lists.values().next().unwrap().entries;
    let within = entries.iter().filter(|(key, _)| cidr.contains(&key.cidr)).map(|(key, span)| (*key, span));
    assert_eq!(entries.within(cidr), within.collect::<Vec<_>>());
    let around = entries.iter().filter(|(key, _)| key.cidr.contains(&cidr)).map(|(key, span)| (*key, span));
    assert_eq!(entries.around(cidr), around.collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_of_a_store_is_that_of_none(steps in vec(step(), 0..60), asked in vec(net(), 8)) {
        let (store, _dir) = store();
        let mut transaction = store.begin().unwrap();
        let mut read = transaction.snapshot().state.clone();
        let mut expected = State::default();
        let id = list(&mut expected, 3);
        read.prefix_lists.insert(id, expected.prefix_lists[&id].clone());
        for step in &steps {
            take(&mut read, step);
            take(&mut expected, step);
            if matches!(step, Step::Commit) {
                transaction.commit(&read).unwrap();
                transaction = store.begin().unwrap();
                read.clone_from(&transaction.snapshot().state);
            }
        }
        asked.iter().for_each(|cidr| finds_prefixes(&expected, *cidr));
        let found = |state: &State, cidr: &IpNet| {
            let entries = &state.prefix_lists.values().next().unwrap().entries;
            let found = [entries.within(*cidr), entries.around(*cidr)];
            found.map(|all| all.into_iter().map(|(key, span)| (key, span.clone())).collect::<Vec<_>>())
        };
        for cidr in &asked {
            assert_eq!(found(&read, cidr), found(&expected, cidr));
        }
        agrees(&read, &expected);
        assert_eq!(read.interfaces.places(), expected.interfaces.places());
        assert_eq!(read, expected);
        transaction.commit(&read).unwrap();
        let again = store.read().unwrap().state;
        agrees(&again, &expected);
        let attached = expected.attached().map(|(eni, how)| (eni.id, how.ifindex, eni.addresses.clone()));
        let places = again.interfaces.places().into_iter().map(|(id, place)| (id, place.ifindex, place.addresses));
        assert!(places.eq(attached));
        assert_eq!(again, expected);
    }
}
