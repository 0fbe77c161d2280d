//! Stores of earlier versions: read as a whole, and written anew by the first change.

use super::objects::{self, kind, load};
use crate::{
    error::Result,
    model::{Entries, EntryKey, Objects, PrefixList, PrefixListId, Quotas, Span, State},
};
use anyhow::Context as _;
use rusqlite::Connection;
use std::sync::Arc;

/// Reads every object of a store of version 1 or 2.
pub fn read(connection: &Connection, version: u64) -> Result<State> {
    let mut prefix_lists: Objects<PrefixListId, PrefixList> = load(connection, kind::PREFIX_LIST)?;
    if version >= 2 {
        read_entries(connection, &mut prefix_lists)?;
    }
    Ok(State {
        vpcs: load(connection, kind::VPC)?,
        groups: load(connection, kind::GROUP)?,
        rules: load(connection, kind::RULE)?,
        interfaces: load(connection, kind::INTERFACE)?,
        prefix_lists,
        peerings: load(connection, kind::PEERING)?,
        quotas: Quotas(load(connection, kind::QUOTA)?),
        released: load(connection, kind::RELEASED)?,
    })
}

fn read_entries(connection: &Connection, lists: &mut Objects<PrefixListId, PrefixList>) -> Result<()> {
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

/// Writes the whole state in the place of what such a store holds, in the tables of today.
pub fn rewrite(connection: &Connection, state: &State) -> Result<()> {
    connection.execute_batch("DROP TABLE IF EXISTS prefix_list_entries; DELETE FROM objects;")?;
    objects::create_tables(connection)?;
    objects::write_changes(connection, &State::default(), state)
}
