//! Objects as rows of the SQLite store: one row an object, its body in JSON, and one row for each term that it answers to.

use super::{
    entries::{self, EntrySource},
    reader::{Reader, count},
};
use crate::{
    error::{Refusal, Result},
    model::{
        Entries, Interface, Key, Object, Objects, Peering, PrefixList, Quotas, Rule, SecurityGroup, Source,
        State, Vpc,
    },
};
use anyhow::Context as _;
use rusqlite::{Connection, OptionalExtension as _, Rows, params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    marker::PhantomData,
    str::FromStr,
    sync::Arc,
};

/// Names of the kinds in the table. Never changed, since files hold them.
pub mod kind {
    pub const VPC: &str = "vpc";
    pub const GROUP: &str = "security-group";
    pub const RULE: &str = "security-group-rule";
    pub const INTERFACE: &str = "network-interface";
    pub const PREFIX_LIST: &str = "prefix-list";
    pub const PEERING: &str = "vpc-peering-connection";
    pub const QUOTA: &str = "quota";
    pub const RELEASED: &str = "released-addresses";
    pub const ALL: [&str; 8] = [VPC, GROUP, RULE, INTERFACE, PREFIX_LIST, PEERING, QUOTA, RELEASED];
}

/// An object that is a row.
trait Row: Object + Serialize + DeserializeOwned {
    const KIND: &'static str;

    /// The object of a row. What it does not hold itself it will read when asked for.
    fn read(_: &Arc<Reader>, body: &str) -> serde_json::Result<Self> {
        serde_json::from_str(body)
    }

    /// What the row holds.
    fn body(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

impl Row for Vpc {
    const KIND: &'static str = kind::VPC;
}

impl Row for SecurityGroup {
    const KIND: &'static str = kind::GROUP;
}

impl Row for Rule {
    const KIND: &'static str = kind::RULE;
}

impl Row for Interface {
    const KIND: &'static str = kind::INTERFACE;
}

impl Row for Peering {
    const KIND: &'static str = kind::PEERING;
}

impl Row for PrefixList {
    const KIND: &'static str = kind::PREFIX_LIST;

    fn read(reader: &Arc<Reader>, body: &str) -> serde_json::Result<Self> {
        let Header::<Self> { list, present } = serde_json::from_str(body)?;
        let entries = Entries::of(EntrySource::new(reader.clone(), list.id, present));
        Ok(Self { entries: Arc::new(entries), ..list })
    }

    fn body(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Header { list: self, present: self.len() })
    }
}

/// The row of a prefix list.
#[derive(Serialize, Deserialize)]
struct Header<L> {
    #[serde(flatten)]
    list: L,
    /// How many entries its present version has.
    present: usize,
}

/// The state of that moment, read when it is asked for.
pub fn state(reader: &Arc<Reader>) -> Result<State> {
    Ok(State {
        vpcs: objects(reader),
        groups: objects(reader),
        rules: objects(reader),
        interfaces: objects(reader),
        prefix_lists: objects(reader),
        peerings: objects(reader),
        quotas: Quotas(reader.ask(|connection| load(connection, kind::QUOTA))?),
        released: reader.ask(|connection| load(connection, kind::RELEASED))?,
    })
}

fn objects<K, V: Row>(reader: &Arc<Reader>) -> Objects<K, V>
where
    K: Key + Display + FromStr<Err = Refusal>,
{
    Objects::of(RowSource { reader: reader.clone(), of: PhantomData })
}

/// The rows of one kind.
struct RowSource<V> {
    reader: Arc<Reader>,
    of: PhantomData<V>,
}

impl<K, V: Row> Source<K, V> for RowSource<V>
where
    K: Key + Display + FromStr<Err = Refusal>,
{
    fn get(&self, key: &K) -> Result<Option<V>> {
        self.reader.ask(|connection| {
            let id = key.to_string();
            let mut query =
                connection.prepare_cached("SELECT body FROM objects WHERE kind = ?1 AND id = ?2")?;
            let body: Option<String> = query.query_row(params![V::KIND, id], |row| row.get(0)).optional()?;
            let read = |body: String| V::read(&self.reader, &body).with_context(|| unreadable(V::KIND, &id));
            body.map(read).transpose()
        })
    }

    fn all(&self) -> Result<BTreeMap<K, V>> {
        self.reader.ask(|connection| {
            let mut query = connection.prepare_cached("SELECT id, body FROM objects WHERE kind = ?1")?;
            Ok(self.read(query.query([V::KIND])?)?.into_iter().collect())
        })
    }

    fn count(&self) -> Result<usize> {
        self.reader.ask(|connection| {
            let mut query = connection.prepare_cached("SELECT count(*) FROM objects WHERE kind = ?1")?;
            Ok(query.query_row([V::KIND], count)?)
        })
    }

    fn having(&self, term: &V::Term) -> Result<Vec<(K, V)>> {
        self.reader.ask(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT objects.id, objects.body FROM terms CROSS JOIN objects
                 ON objects.kind = terms.kind AND objects.id = terms.id
                 WHERE terms.kind = ?1 AND terms.term = ?2",
            )?;
            self.read(query.query(params![V::KIND, term.to_string()])?)
        })
    }

    fn keys_having(&self, term: &V::Term) -> Result<Vec<K>> {
        self.reader.ask(|connection| {
            let mut query =
                connection.prepare_cached("SELECT id FROM terms WHERE kind = ?1 AND term = ?2")?;
            let mut rows = query.query(params![V::KIND, term.to_string()])?;
            let mut keys = Vec::new();
            while let Some(row) = rows.next()? {
                keys.push(key(V::KIND, row.get_ref(0)?.as_str()?)?);
            }
            Ok(keys)
        })
    }

    fn terms_named(&self, name: &str) -> Result<Vec<(K, String)>> {
        self.reader.ask(|connection| {
            // '>' is what comes after '='.
            let mut query = connection.prepare_cached(
                "SELECT id, substr(term, length(?2) + 2) FROM terms
                 WHERE kind = ?1 AND term >= ?2 || '=' AND term < ?2 || '>'",
            )?;
            let mut rows = query.query(params![V::KIND, name])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push((key(V::KIND, row.get_ref(0)?.as_str()?)?, row.get(1)?));
            }
            Ok(found)
        })
    }

    fn count_having(&self, term: &V::Term) -> Result<usize> {
        self.reader.ask(|connection| {
            let mut query =
                connection.prepare_cached("SELECT count(*) FROM terms WHERE kind = ?1 AND term = ?2")?;
            Ok(query.query_row(params![V::KIND, term.to_string()], count)?)
        })
    }
}

impl<V: Row> RowSource<V> {
    /// Rows of id and body.
    fn read<K: FromStr<Err = Refusal>>(&self, mut rows: Rows<'_>) -> Result<Vec<(K, V)>> {
        let mut objects = Vec::new();
        while let Some(row) = rows.next()? {
            let (id, body) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            let object = V::read(&self.reader, body).with_context(|| unreadable(V::KIND, id))?;
            objects.push((key(V::KIND, id)?, object));
        }
        Ok(objects)
    }
}

fn unreadable(kind: &str, id: &str) -> String {
    format!("its {kind} '{id}' cannot be read")
}

/// The key of a row.
fn key<K: FromStr<Err = Refusal>>(kind: &str, id: &str) -> Result<K> {
    // The code of a malformed id is for ids that users type.
    let read = id.parse().map_err(|refusal: Refusal| anyhow::anyhow!(refusal.message));
    read.with_context(|| unreadable(kind, id))
}

/// Reads all objects of a kind.
pub fn load<M, K, V>(connection: &Connection, kind: &str) -> Result<M>
where
    M: FromIterator<(K, V)>,
    K: FromStr<Err = Refusal>,
    V: DeserializeOwned,
{
    let mut query = connection.prepare_cached("SELECT id, body FROM objects WHERE kind = ?1")?;
    let mut rows = query.query([kind])?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, body) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        objects.push((key(kind, id)?, serde_json::from_str(body).with_context(|| unreadable(kind, id))?));
    }
    Ok(objects.into_iter().collect())
}

/// Refuses a store with objects that this version does not know: it would neither enforce nor keep them.
pub fn check_kinds(connection: &Connection) -> Result<()> {
    // From each kind to the next, so that what it costs is in the number of kinds.
    let mut query = connection.prepare_cached(
        "WITH RECURSIVE kinds (kind) AS (
             SELECT min(kind) FROM objects
             UNION ALL
             SELECT (SELECT min(objects.kind) FROM objects WHERE objects.kind > kinds.kind)
             FROM kinds WHERE kinds.kind IS NOT NULL
         ) SELECT kind FROM kinds WHERE kind IS NOT NULL",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let found = row.get_ref(0)?.as_str()?;
        anyhow::ensure!(kind::ALL.contains(&found), "it holds an object of the unknown kind '{found}'");
    }
    Ok(())
}

/// Makes the tables where they are not there yet.
pub fn create_tables(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS objects (
             kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS terms (
             kind TEXT NOT NULL, term TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (kind, term, id)
         ) STRICT, WITHOUT ROWID;",
    )?;
    entries::create_table(connection)
}

/// Writes the rows that differ.
pub fn write_changes(connection: &Connection, old: &State, new: &State) -> Result<()> {
    write_objects(connection, &old.vpcs, &new.vpcs)?;
    write_objects(connection, &old.groups, &new.groups)?;
    write_objects(connection, &old.rules, &new.rules)?;
    write_objects(connection, &old.interfaces, &new.interfaces)?;
    write_objects(connection, &old.prefix_lists, &new.prefix_lists)?;
    entries::write_changes(connection, &old.prefix_lists, &new.prefix_lists)?;
    write_objects(connection, &old.peerings, &new.peerings)?;
    write_kind(connection, kind::QUOTA, &old.quotas.0, &new.quotas.0)?;
    write_kind(connection, kind::RELEASED, &old.released, &new.released)
}

const PUT: &str = "INSERT OR REPLACE INTO objects (kind, id, body) VALUES (?1, ?2, ?3)";
const DELETE: &str = "DELETE FROM objects WHERE kind = ?1 AND id = ?2";

fn write_objects<K: Key + Display, V: Row>(
    connection: &Connection,
    old: &Objects<K, V>,
    new: &Objects<K, V>,
) -> Result<()> {
    let (mut put, mut delete) = (connection.prepare_cached(PUT)?, connection.prepare_cached(DELETE)?);
    let mut name =
        connection.prepare_cached("INSERT OR REPLACE INTO terms (kind, term, id) VALUES (?1, ?2, ?3)")?;
    let mut forget =
        connection.prepare_cached("DELETE FROM terms WHERE kind = ?1 AND term = ?2 AND id = ?3")?;
    for (key, before, after) in new.changes_from(old) {
        let id = key.to_string();
        match after {
            Some(object) => put.execute(params![V::KIND, id, object.body()?])?,
            None => delete.execute(params![V::KIND, id])?,
        };
        let terms = |object: Option<&V>| BTreeSet::from_iter(object.into_iter().flat_map(Object::terms));
        let (before, after) = (terms(before), terms(after));
        for term in before.difference(&after) {
            forget.execute(params![V::KIND, term.to_string(), id])?;
        }
        for term in after.difference(&before) {
            name.execute(params![V::KIND, term.to_string(), id])?;
        }
    }
    Ok(())
}

/// Of what is always read as a whole.
fn write_kind<K, V>(
    connection: &Connection,
    kind: &str,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> Result<()>
where
    K: Ord + Display,
    V: PartialEq + Serialize,
{
    let (mut put, mut delete) = (connection.prepare_cached(PUT)?, connection.prepare_cached(DELETE)?);
    for id in old.keys().filter(|id| !new.contains_key(id)) {
        delete.execute(params![kind, id.to_string()])?;
    }
    for (id, object) in new.iter().filter(|(id, object)| old.get(id) != Some(object)) {
        put.execute(params![kind, id.to_string(), serde_json::to_string(object)?])?;
    }
    Ok(())
}
