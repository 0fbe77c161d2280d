//! Tests of [`super`], apart for the length of the file.

use super::*;
use crate::{
    error::or_given_up,
    model::{
        AddressFamily, Direction, Entries, EntryKey, InterfaceTerm, Key, Object, Objects, Peering, PeeringId,
        PeeringStatus, PrefixList, PrefixListId, Quota, Span, Tags, VpcId,
    },
    ops::{
        self, group,
        rule::{self, Content},
        testing::refusal,
    },
};
use ipnet::{IpNet, Ipv4Net};
use std::{net::Ipv4Addr, os::unix::fs::PermissionsExt as _, sync::Arc};
use tempfile::TempDir;

/// A store in a directory of its own, which does not exist yet.
pub fn store() -> (SqliteStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (SqliteStore::new(dir.path().join("lib/sg/state.db")), dir)
}

/// One command: a transaction that changes the state so.
pub fn command(store: &SqliteStore, change: impl FnOnce(&mut State)) -> u64 {
    let transaction = store.begin().unwrap();
    let mut state = transaction.snapshot().state.clone();
    ops::ensure_default_vpc(&mut state);
    change(&mut state);
    transaction.commit(&state).unwrap()
}

/// A state with something of every kind and every form of traffic.
fn populate(state: &mut State) {
    group::create(state, &group::Create { tags: vec!["k=v".into()], ..group::Create::new("web", "t") })
        .unwrap();
    rule::add(state, "web", &Content::tcp("22").with_cidr("10.0.0.0/8").with_cidr("::/0").with_group("web"))
        .unwrap();
    for protocol in ["icmp", "icmpv6", "47"] {
        let mut content = Content::all(Direction::Egress).with_cidr("10.0.0.0/8");
        content.protocol = protocol.to_owned();
        content.icmp_type = (protocol == "icmp").then(|| "8".to_owned());
        rule::add(state, "web", &content).unwrap();
    }
    ops::interface::tests::attached(state, "eth0", Some("blue"));
    list(state, 3);
    state.quotas.0.insert(Quota::RulesPerGroup, 100);
    let (id, vpc) = (PeeringId::random(), VpcId::random());
    let peering = Peering {
        id,
        requester: vpc,
        accepter: vpc,
        status: PeeringStatus::Active,
        since: 1,
        tags: Tags::new(),
    };
    state.peerings.insert(id, peering);
}

/// A list of that many entries, and one that went in its second version.
pub fn list(state: &mut State, entries: u32) -> PrefixListId {
    let cidr = |n: u32| IpNet::from(Ipv4Net::new(Ipv4Addr::from(n << 8), 24).unwrap());
    let mut all: Entries = (0..entries)
        .map(|n| (EntryKey { cidr: cidr(n), since: 1 }, Span { until: None, description: Some("x".into()) }))
        .collect();
    all.insert(EntryKey { cidr: cidr(entries), since: 1 }, Span { until: Some(2), description: None });
    let id = PrefixListId::random();
    let list = PrefixList {
        id,
        name: "offices".to_owned(),
        family: AddressFamily::Ipv4,
        max_entries: 10,
        version: 2,
        oldest: 1,
        state: Default::default(),
        tags: Tags::new(),
        entries: Arc::new(all),
    };
    state.prefix_lists.insert(id, list);
    id
}

pub fn raw(store: &SqliteStore) -> Connection {
    Connection::open(&store.path).unwrap()
}

#[test]
fn reading_what_does_not_exist_creates_nothing() {
    let (store, dir) = store();
    assert_eq!(store.read().unwrap(), Snapshot::default());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_is_committed_is_read_back() {
    let (store, _dir) = store();
    let mut expected = State::default();
    assert_eq!(
        command(&store, |state| {
            populate(state);
            expected = state.clone();
        }),
        1
    );
    let snapshot = store.read().unwrap();
    assert_eq!((snapshot.revision, &snapshot.state), (1, &expected));
    assert_eq!(command(&store, |state| assert_eq!(*state, expected)), 1, "nothing changed, no new revision");
    assert_eq!(command(&store, |state| state.rules.clear()), 2);
    expected.rules.clear();
    let read = store.read().unwrap();
    assert_eq!((read.state, read.revision), (expected, 2));
}

#[test]
fn only_rows_that_differ_are_written() {
    let (store, _dir) = store();
    command(&store, populate);
    let transaction = store.begin().unwrap();
    let mut state = transaction.snapshot().state.clone();
    let id = *state.rules.keys().next().unwrap();
    state.rules.get_mut(&id).unwrap().description = Some("changed".to_owned());
    drop(transaction);
    let connection = raw(&store);
    objects::write_changes(&connection, &store.read().unwrap().state, &state).unwrap();
    assert_eq!(connection.total_changes(), 1);
    assert_eq!(store.read().unwrap().state, state);
}

#[test]
fn a_dropped_transaction_leaves_the_store_as_it_was() {
    let (store, _dir) = store();
    drop(store.begin().unwrap());
    // It has its name from now on, and nothing else.
    let named = store.read().unwrap();
    assert_ne!(named.store_id, 0);
    assert_eq!(named, Snapshot { store_id: named.store_id, ..Snapshot::default() });
    command(&store, populate);
    let before = store.read().unwrap();
    drop(store.begin().unwrap());
    assert_eq!(store.read().unwrap(), before);
}

#[test]
fn only_the_owner_may_look() {
    let (store, _dir) = store();
    command(&store, |_| {});
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store.path), 0o600);
    assert_eq!(mode(store.path.parent().unwrap()), 0o700);
    assert_eq!(mode(store.path.parent().unwrap().parent().unwrap()), 0o700);
}

#[test]
fn two_commands_at_once_serialise_and_none_is_lost() {
    let (store, _dir) = store();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..5 {
                    let create = group::Create::new(&format!("g{thread}-{n}"), "test");
                    command(&store, |state| assert!(group::create(state, &create).is_ok()));
                }
            });
        }
    });
    let snapshot = store.read().unwrap();
    assert_eq!(snapshot.state.groups.len(), 21);
    assert_eq!(snapshot.state.vpcs.len(), 1);
    assert_eq!(snapshot.revision, 20);
}

#[test]
fn a_damaged_file_is_refused_and_kept() {
    let (store, _dir) = store();
    store.create_file().unwrap();
    fs::write(&store.path, "this is not a database, it is a text that is long enough").unwrap();
    let before = fs::read(&store.path).unwrap();
    for refusal in [refusal(store.read()), refusal(store.begin().map(|_| ()))] {
        assert_eq!(refusal.code, "StoreError");
        assert_eq!(
            refusal.message,
            format!(
                "the store {} is damaged (file is not a database); it is left as it is: bring back a copy, or move it \
                 away to start with an empty store, with the files beside it that begin with its name",
                store.path.display()
            )
        );
    }
    assert_eq!(fs::read(&store.path).unwrap(), before);
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    let (store, _dir) = store();
    command(&store, populate);
    raw(&store).execute("UPDATE objects SET body = '{' WHERE kind = 'network-interface'", []).unwrap();
    // When it is asked for, however that is.
    let id = store.read().unwrap().state.interfaces.keys_having(&InterfaceTerm::Attached)[0];
    let asks: [&dyn Fn(&State) -> bool; 4] = [
        &|state| state.interfaces.values().next().is_some(),
        &|state| state.attached().next().is_some(),
        &|state| state.interfaces.named("eth0").next().is_some(),
        &|state| state.interfaces.contains_key(&id),
    ];
    for ask in asks {
        let refusal = refusal(or_given_up(|| Ok(ask(&store.read()?.state))));
        assert_eq!(refusal.code, "StoreError");
        assert!(refusal.message.contains("its network-interface 'eni-"), "{}", refusal.message);
    }
    // And not by commands that have nothing to do with it.
    command(&store, |state| {
        drop(rule::add(state, "web", &Content::tcp("80").with_cidr("10.0.0.0/8")).unwrap())
    });
}

#[test]
fn what_was_read_stays_as_it_was() {
    let (store, _dir) = store();
    let mut before = State::default();
    command(&store, |state| {
        populate(state);
        before = state.clone();
    });
    let (early, untouched) = (store.read().unwrap(), store.read().unwrap());
    let rule = *early.state.rules.keys().next().unwrap();
    let transaction = store.begin().unwrap();
    let mut state = transaction.snapshot().state.clone();
    state.rules.remove(&rule);
    let mut after = before.clone();
    after.rules.remove(&rule);
    transaction.commit(&state).unwrap();
    command(&store, |state| {
        state.rules.clear();
        state.interfaces.clear();
        state.prefix_lists.clear();
    });
    // Also what nobody had asked for before others changed it, and what goes on under a commit.
    assert_eq!(untouched.state, before);
    assert_eq!(state, after);
    assert!(store.read().unwrap().state.interfaces.is_empty());
}

#[test]
fn the_log_stays_short() {
    let (store, _dir) = store();
    let log = PathBuf::from(format!("{}-wal", store.path.display()));
    let mut longest = 0;
    for n in 0..200 {
        let create = group::Create::new(&format!("g{n}"), "test");
        command(&store, |state| assert!(group::create(state, &create).is_ok()));
        longest = longest.max(fs::metadata(&log).unwrap().len());
    }
    assert!((LONG_LOG..2 * LONG_LOG).contains(&longest), "{longest}");
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    // Without the log, that is all of it that there was.
    let copied = tempfile::tempdir().unwrap();
    for name in ["state.db", "state.db-wal"] {
        fs::copy(store.path.with_file_name(name), copied.path().join(name)).unwrap();
    }
    assert_eq!(SqliteStore::new(copied.path().join("state.db")).read().unwrap(), store.read().unwrap());
}

#[test]
fn one_entry_more_in_a_long_list_is_one_row_more() {
    let (store, _dir) = store();
    let mut id = None;
    command(&store, |state| id = Some(list(state, 1_000)));
    let old = store.read().unwrap().state;
    let mut new = old.clone();
    let list = new.prefix_lists.get_mut(&id.unwrap()).unwrap();
    list.version = 3;
    let key = EntryKey { cidr: "192.0.2.0/24".parse().unwrap(), since: 3 };
    Arc::make_mut(&mut list.entries).insert(key, Span::default());
    let connection = raw(&store);
    objects::write_changes(&connection, &old, &new).unwrap();
    assert_eq!(connection.total_changes(), 2, "the list's own row, and the entry's");
    assert_eq!(store.read().unwrap().state, new);
    let none = State { prefix_lists: Default::default(), ..new.clone() };
    objects::write_changes(&connection, &new, &none).unwrap();
    let left: u64 =
        connection.query_row("SELECT count(*) FROM entries", [], |row| row.get::<_, u32>(0)).unwrap().into();
    assert_eq!((left, store.read().unwrap().state), (0, none));
}

#[test]
fn a_store_of_the_first_version_is_read_and_brought_up_to_date() {
    let (store, _dir) = store();
    command(&store, populate);
    let connection = raw(&store);
    // What version 1 could not have: its tables and kinds, and nothing else.
    connection
        .execute_batch(
            "DROP TABLE entries;
             DROP TABLE terms;
             DELETE FROM objects WHERE kind IN ('prefix-list', 'vpc-peering-connection', 'quota');
             UPDATE meta SET value = '1' WHERE key = 'schema_version';",
        )
        .unwrap();
    let version = || -> String {
        let query = "SELECT value FROM meta WHERE key = 'schema_version'";
        connection.query_row(query, [], |row| row.get(0)).unwrap()
    };
    let old = store.read().unwrap();
    assert_eq!((old.state.groups.len(), version().as_str()), (2, "1"), "reading changes nothing");
    let revision = command(&store, |state| {
        assert_eq!(*state, old.state);
        list(state, 3);
    });
    assert_eq!((revision, version().as_str()), (old.revision + 1, "3"));
    assert_eq!(store.read().unwrap().state.prefix_lists.len(), 1);
}

#[test]
fn a_store_of_the_second_version_is_read_and_brought_up_to_date() {
    let (store, _dir) = store();
    let mut expected = State::default();
    command(&store, |state| {
        populate(state);
        expected = state.clone();
    });
    let connection = raw(&store);
    connection
        .execute_batch(
            "DROP TABLE entries;
             DROP TABLE terms;
             CREATE TABLE prefix_list_entries (
                 list TEXT NOT NULL, cidr TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER, description TEXT,
                 PRIMARY KEY (list, cidr, since)
             ) STRICT, WITHOUT ROWID;
             UPDATE objects SET body = json_remove(body, '$.present') WHERE kind = 'prefix-list';
             UPDATE meta SET value = '2' WHERE key = 'schema_version';",
        )
        .unwrap();
    for list in expected.prefix_lists.values() {
        for (key, span) in list.entries.iter() {
            let row =
                params![list.id.to_string(), key.cidr.to_string(), key.since, span.until, span.description];
            let put = "INSERT INTO prefix_list_entries VALUES (?1, ?2, ?3, ?4, ?5)";
            connection.execute(put, row).unwrap();
        }
    }
    assert_eq!(store.read().unwrap().state, expected);
    // A command that changes nothing leaves it as it is.
    command(&store, |_| {});
    let version = |connection: &Connection| meta(connection, "schema_version").unwrap();
    assert_eq!(version(&connection), 2);
    let id = *expected.rules.keys().next().unwrap();
    expected.rules.remove(&id);
    command(&store, |state| drop(state.rules.remove(&id)));
    assert_eq!((version(&connection), &store.read().unwrap().state), (3, &expected));
    assert_eq!(tables(&connection).unwrap(), ["meta", "objects", "terms", "entries"]);
    agrees(&store.read().unwrap().state, &expected);
}

/// Whether what is found by terms is the same in both.
pub fn agrees(read: &State, expected: &State) {
    fn same<K: Key, V: Object>(read: &Objects<K, V>, expected: &Objects<K, V>) {
        for term in expected.values().flat_map(Object::terms) {
            assert_eq!(read.keys_having(&term), expected.keys_having(&term), "{term}");
            assert!(read.having(&term).eq(expected.having(&term)), "{term}");
            assert_eq!(read.count_having(&term), expected.count_having(&term), "{term}");
        }
        assert_eq!(read.len(), expected.len());
    }
    same(&read.groups, &expected.groups);
    same(&read.rules, &expected.rules);
    same(&read.interfaces, &expected.interfaces);
    same(&read.prefix_lists, &expected.prefix_lists);
    for list in expected.prefix_lists.values() {
        same(&read.prefix_lists[&list.id].entries, &list.entries);
    }
}

#[test]
fn a_later_schema_is_refused() {
    let (store, _dir) = store();
    command(&store, populate);
    raw(&store).execute("UPDATE meta SET value = '4' WHERE key = 'schema_version'", []).unwrap();
    let expected = format!(
        "the store {} cannot be used: its schema is version 4 and this sg-ctl knows 3; use the sg-ctl that wrote it, or \
         a later one",
        store.path.display()
    );
    assert_eq!(refusal(store.read()).message, expected);
    assert_eq!(refusal(store.begin().map(|_| ())).message, expected);
}

#[test]
fn a_foreign_database_is_refused() {
    let (store, _dir) = store();
    store.create_file().unwrap();
    raw(&store).execute("CREATE TABLE music (title TEXT)", []).unwrap();
    assert_eq!(
        refusal(store.begin().map(|_| ())).message,
        format!(
            "the store {} cannot be used: it is a database of something else than sg-ctl",
            store.path.display()
        )
    );
    let mode: String = raw(&store).query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete", "it is left as it is");
}

#[test]
fn an_unknown_kind_of_object_is_refused() {
    let (store, _dir) = store();
    command(&store, populate);
    raw(&store).execute("INSERT INTO objects VALUES ('network-acl', 'pl-12345678', '{}')", []).unwrap();
    assert!(refusal(store.read()).message.ends_with("it holds an object of the unknown kind 'network-acl'"));
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let store = SqliteStore::new(dir.path().join("file/state.db"));
    let refusal = refusal(store.begin().map(|_| ()));
    assert_eq!(refusal.code, "StoreError");
    assert!(refusal.message.contains("file/state.db cannot be used: "), "{}", refusal.message);
}
