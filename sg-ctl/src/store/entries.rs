//! Entries of prefix lists as rows: each says since which version it is there and from which on it is not, so that one
//! entry more in a list of a hundred thousand is one row.

use crate::{
    error::Result,
    model::{Entries, EntryKey, PrefixList, PrefixListId, Span},
};
use anyhow::Context as _;
use rusqlite::{Connection, params};
use std::{collections::BTreeMap, sync::Arc};

type Lists = BTreeMap<PrefixListId, PrefixList>;

/// Makes the table where it is not there yet.
pub fn create_table(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS prefix_list_entries (
             list TEXT NOT NULL, cidr TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER, description TEXT,
             PRIMARY KEY (list, cidr, since)
         ) STRICT, WITHOUT ROWID;",
    )?;
    Ok(())
}

/// Reads the entries of these lists.
pub fn load(connection: &Connection, lists: &mut Lists) -> Result<()> {
    let mut query = connection
        .prepare("SELECT cidr, since, until, description FROM prefix_list_entries WHERE list = ?1")?;
    for list in lists.values_mut() {
        let mut rows = query.query([list.id.to_string()])?;
        let mut entries = Entries::new();
        while let Some(row) = rows.next()? {
            let cidr: String = row.get(0)?;
            let cidr =
                cidr.parse().with_context(|| format!("its entry '{cidr}' of {} cannot be read", list.id))?;
            let key = EntryKey { cidr, since: row.get(1)? };
            entries.insert(key, Span { until: row.get(2)?, description: row.get(3)? });
        }
        list.entries = Arc::new(entries);
    }
    Ok(())
}

/// Writes the rows that differ.
pub fn write_changes(connection: &Connection, old: &Lists, new: &Lists) -> Result<()> {
    let mut forget = connection.prepare("DELETE FROM prefix_list_entries WHERE list = ?1")?;
    for id in old.keys().filter(|id| !new.contains_key(id)) {
        forget.execute([id.to_string()])?;
    }
    let mut delete =
        connection.prepare("DELETE FROM prefix_list_entries WHERE list = ?1 AND cidr = ?2 AND since = ?3")?;
    let mut put = connection.prepare(
        "INSERT OR REPLACE INTO prefix_list_entries (list, cidr, since, until, description)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let nothing = Arc::new(Entries::new());
    for list in new.values() {
        let before = old.get(&list.id).map_or(&nothing, |list| &list.entries);
        if Arc::ptr_eq(before, &list.entries) {
            continue;
        }
        let id = list.id.to_string();
        for key in before.keys().filter(|key| !list.entries.contains_key(key)) {
            delete.execute(params![id, key.cidr.to_string(), key.since])?;
        }
        for (key, span) in list.entries.iter().filter(|(key, span)| before.get(key) != Some(span)) {
            put.execute(params![id, key.cidr.to_string(), key.since, span.until, span.description])?;
        }
    }
    Ok(())
}
