//! Objects as rows of the SQLite store: one row an object, its body in JSON.

use super::entries;
use crate::{
    error::{Refusal, Result},
    model::{Quotas, State},
};
use anyhow::Context as _;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt::Display, str::FromStr};

/// Names of the kinds in the table. Never changed, since files hold them.
mod kind {
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

/// Reads every object of a store of that version.
pub fn load(connection: &Connection, version: u64) -> Result<State> {
    // What this version does not know it would also not enforce, nor keep.
    let unknown: Option<String> = connection
        .query_row(
            "SELECT kind FROM objects WHERE kind NOT IN (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) LIMIT 1",
            kind::ALL,
            |row| row.get(0),
        )
        .optional()?;
    if let Some(unknown) = unknown {
        anyhow::bail!("it holds an object of the unknown kind '{unknown}'");
    }
    let mut prefix_lists = load_kind(connection, kind::PREFIX_LIST)?;
    if version >= 2 {
        entries::load(connection, &mut prefix_lists)?;
    }
    Ok(State {
        vpcs: load_kind(connection, kind::VPC)?,
        groups: load_kind(connection, kind::GROUP)?,
        rules: load_kind(connection, kind::RULE)?,
        interfaces: load_kind(connection, kind::INTERFACE)?,
        prefix_lists,
        peerings: load_kind(connection, kind::PEERING)?,
        quotas: Quotas(load_kind(connection, kind::QUOTA)?),
        released: load_kind(connection, kind::RELEASED)?,
    })
}

fn load_kind<K, V>(connection: &Connection, kind: &str) -> Result<BTreeMap<K, V>>
where
    K: Ord + FromStr<Err = Refusal>,
    V: DeserializeOwned,
{
    let mut query = connection.prepare("SELECT id, body FROM objects WHERE kind = ?1")?;
    let mut rows = query.query([kind])?;
    let mut objects = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (id, body): (String, String) = (row.get(0)?, row.get(1)?);
        let what = || format!("its {kind} '{id}' cannot be read");
        // The code of a malformed id is for ids that users type.
        let key =
            id.parse().map_err(|refusal: Refusal| anyhow::anyhow!(refusal.message)).with_context(what)?;
        objects.insert(key, serde_json::from_str(&body).with_context(what)?);
    }
    Ok(objects)
}

/// Writes the rows that differ.
pub fn write_changes(connection: &Connection, old: &State, new: &State) -> Result<()> {
    write_kind(connection, kind::VPC, &old.vpcs, &new.vpcs)?;
    write_kind(connection, kind::GROUP, &old.groups, &new.groups)?;
    write_kind(connection, kind::RULE, &old.rules, &new.rules)?;
    write_kind(connection, kind::INTERFACE, &old.interfaces, &new.interfaces)?;
    write_kind(connection, kind::PREFIX_LIST, &old.prefix_lists, &new.prefix_lists)?;
    entries::write_changes(connection, &old.prefix_lists, &new.prefix_lists)?;
    write_kind(connection, kind::PEERING, &old.peerings, &new.peerings)?;
    write_kind(connection, kind::QUOTA, &old.quotas.0, &new.quotas.0)?;
    write_kind(connection, kind::RELEASED, &old.released, &new.released)
}

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
    let mut delete = connection.prepare("DELETE FROM objects WHERE kind = ?1 AND id = ?2")?;
    for id in old.keys().filter(|id| !new.contains_key(id)) {
        delete.execute(params![kind, id.to_string()])?;
    }
    let mut put =
        connection.prepare("INSERT OR REPLACE INTO objects (kind, id, body) VALUES (?1, ?2, ?3)")?;
    for (id, object) in new.iter().filter(|(id, object)| old.get(id) != Some(object)) {
        put.execute(params![kind, id.to_string(), serde_json::to_string(object)?])?;
    }
    Ok(())
}
