//! Entries of prefix lists as rows: each says since which version it is there and from which on it is not, so that one
//! entry more in a list of a hundred thousand is one row.

use super::reader::{Reader, count};
use crate::{
    error::Result,
    model::{Entries, EntryKey, EntryTerm, Objects, PrefixList, PrefixListId, Source, Span},
};
use anyhow::Context as _;
use ipnet::IpNet;
use rusqlite::{Connection, OptionalExtension as _, Rows, params};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    sync::Arc,
};

/// Makes the table where it is not there yet. Its keys order as [`EntryKey`] does.
pub fn create_table(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS entries (
             list TEXT NOT NULL, key BLOB NOT NULL, until INTEGER, description TEXT, PRIMARY KEY (list, key)
         ) STRICT, WITHOUT ROWID;
         CREATE INDEX IF NOT EXISTS entries_until ON entries (list, until) WHERE until IS NOT NULL;",
    )?;
    Ok(())
}

/// The rows of one list.
pub struct EntrySource {
    reader: Arc<Reader>,
    list: PrefixListId,
    /// How many of them the present version has.
    present: usize,
}

impl EntrySource {
    /// The entries of a list, of which so many are in its present version.
    pub fn new(reader: Arc<Reader>, list: PrefixListId, present: usize) -> Self {
        Self { reader, list, present }
    }

    /// Rows of key, `until` and description.
    fn read(&self, mut rows: Rows<'_>) -> Result<Vec<(EntryKey, Span)>> {
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let key = read_key(row.get_ref(0)?.as_blob()?);
            let key =
                key.with_context(|| format!("an entry of its prefix-list '{}' cannot be read", self.list))?;
            entries.push((key, Span { until: row.get(1)?, description: row.get(2)? }));
        }
        Ok(entries)
    }
}

impl Source<EntryKey, Span> for EntrySource {
    fn get(&self, key: &EntryKey) -> Result<Option<Span>> {
        self.reader.ask(|connection| {
            let mut query = connection
                .prepare_cached("SELECT until, description FROM entries WHERE list = ?1 AND key = ?2")?;
            let read = |row: &rusqlite::Row<'_>| Ok(Span { until: row.get(0)?, description: row.get(1)? });
            Ok(query.query_row(params![self.list.to_string(), key_bytes(key)], read).optional()?)
        })
    }

    fn all(&self) -> Result<BTreeMap<EntryKey, Span>> {
        self.reader.ask(|connection| {
            let mut query =
                connection.prepare_cached("SELECT key, until, description FROM entries WHERE list = ?1")?;
            Ok(self.read(query.query([self.list.to_string()])?)?.into_iter().collect())
        })
    }

    fn count(&self) -> Result<usize> {
        self.reader.ask(|connection| {
            let mut query = connection.prepare_cached("SELECT count(*) FROM entries WHERE list = ?1")?;
            Ok(query.query_row([self.list.to_string()], count)?)
        })
    }

    fn having(&self, term: &EntryTerm) -> Result<Vec<(EntryKey, Span)>> {
        let until = match term {
            EntryTerm::Present => None,
            EntryTerm::Until(version) => Some(*version),
        };
        self.reader.ask(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT key, until, description FROM entries WHERE list = ?1 AND until IS ?2",
            )?;
            self.read(query.query(params![self.list.to_string(), until])?)
        })
    }

    fn keys_having(&self, term: &EntryTerm) -> Result<Vec<EntryKey>> {
        Ok(self.having(term)?.into_iter().map(|(key, _)| key).collect())
    }

    fn count_having(&self, term: &EntryTerm) -> Result<usize> {
        match term {
            EntryTerm::Present => Ok(self.present),
            EntryTerm::Until(_) => Ok(self.having(term)?.len()),
        }
    }

    fn range(&self, range: RangeInclusive<EntryKey>) -> Result<Vec<(EntryKey, Span)>> {
        self.reader.ask(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT key, until, description FROM entries WHERE list = ?1 AND key BETWEEN ?2 AND ?3",
            )?;
            let (first, last) = range.into_inner();
            self.read(query.query(params![self.list.to_string(), key_bytes(&first), key_bytes(&last)])?)
        })
    }
}

/// Family, address, length and version, each in network byte order.
fn key_bytes(key: &EntryKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(22);
    match key.cidr.addr() {
        IpAddr::V4(address) => {
            bytes.push(4);
            bytes.extend(address.octets());
        }
        IpAddr::V6(address) => {
            bytes.push(6);
            bytes.extend(address.octets());
        }
    }
    bytes.push(key.cidr.prefix_len());
    bytes.extend(key.since.to_be_bytes());
    bytes
}

/// What [`key_bytes`] wrote.
fn read_key(bytes: &[u8]) -> Option<EntryKey> {
    let (rest, since) = bytes.split_last_chunk::<4>()?;
    let (length, rest) = rest.split_last()?;
    let (family, address) = rest.split_first()?;
    let address: IpAddr = match family {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).into(),
        6 => Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).into(),
        _ => return None,
    };
    let cidr = IpNet::new(address, *length).ok().filter(|cidr| cidr.trunc() == *cidr)?;
    Some(EntryKey { cidr, since: u32::from_be_bytes(*since) })
}

type Lists = Objects<PrefixListId, PrefixList>;

/// Writes the rows that differ.
pub fn write_changes(connection: &Connection, old: &Lists, new: &Lists) -> Result<()> {
    let mut forget = connection.prepare_cached("DELETE FROM entries WHERE list = ?1")?;
    let mut delete = connection.prepare_cached("DELETE FROM entries WHERE list = ?1 AND key = ?2")?;
    let mut put = connection.prepare_cached(
        "INSERT OR REPLACE INTO entries (list, key, until, description) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let none = Entries::new();
    for (id, before, after) in new.changes_from(old) {
        let id = id.to_string();
        let Some(list) = after else {
            forget.execute([id])?;
            continue;
        };
        let before = before.map_or(&none, |list| &*list.entries);
        for (key, _, span) in list.entries.changes_from(before) {
            match span {
                Some(Span { until, description }) => {
                    put.execute(params![id, key_bytes(&key), until, description])?
                }
                None => delete.execute(params![id, key_bytes(&key)])?,
            };
        }
    }
    Ok(())
}
