//! Where the desired state lives: behind a trait, so that one host's file and a fleet's cluster look the same.

mod entries;
mod objects;
mod older;
mod reader;
mod sqlite;

pub use sqlite::SqliteStore;

use crate::{
    error::{Refusal, Result},
    model::State,
};
use std::path::Path;

/// The state as one command found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Everything that is desired.
    pub state: State,
    /// Counts the commits; 0 is a store that nobody has written yet.
    pub revision: u64,
    /// Which store this is, drawn at random when it was made: what is enforced belongs to one store. 0 is a store that
    /// does not exist yet.
    pub store_id: u64,
}

/// A place that keeps a [`State`]. Threads may share it.
pub trait Store: Send + Sync {
    /// What is there now, and stays so for whoever holds it. Reads a store that does not exist as an empty one, and does
    /// not make it.
    fn read(&self) -> Result<Snapshot>;

    /// How many commits there have been, without reading the rest.
    fn revision(&self) -> Result<u64>;

    /// Begins a change. Others that want to change wait until this one has ended.
    fn begin(&self) -> Result<Box<dyn Transaction + '_>>;
}

/// A change in the making. Dropping it without [`commit`](Transaction::commit) leaves the store as it was.
pub trait Transaction {
    /// What this change starts from.
    fn snapshot(&self) -> &Snapshot;

    /// Makes `state` what the store holds, durably. Returns the new revision, which is the old one where `state` does
    /// not differ from the snapshot.
    fn commit(self: Box<Self>, state: &State) -> Result<u64>;
}

/// Opens the store of `--store`, or the one in the state directory.
pub fn open(url: Option<&str>, state_dir: &Path) -> Result<Box<dyn Store>> {
    let Some(url) = url else {
        return Ok(Box::new(SqliteStore::new(state_dir.join("state.db"))));
    };
    match url.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(Box::new(SqliteStore::new(path))),
        Some(("etcd", _)) => Err(Refusal::invalid(format!(
            "--store {url}: this version of sg-ctl keeps its state in SQLite only; use sqlite:PATH"
        ))
        .into()),
        _ => Err(Refusal::invalid(format!("--store {url}: not of the form sqlite:PATH")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::refused;

    fn message(url: &str) -> String {
        refused(open(Some(url), Path::new("/nowhere")).map(|_| ()))
    }

    #[test]
    fn only_sqlite_urls_are_taken() {
        assert_eq!(
            message("etcd://10.0.0.1:2379"),
            "InvalidParameterValue: --store etcd://10.0.0.1:2379: this version of sg-ctl keeps its state in SQLite \
             only; use sqlite:PATH"
        );
        for url in ["sqlite:", "postgres://x", "/var/lib/x.db", ""] {
            assert_eq!(
                message(url),
                format!("InvalidParameterValue: --store {url}: not of the form sqlite:PATH")
            );
        }
    }

    #[test]
    fn the_store_is_in_the_state_directory_unless_said_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        for url in [None, Some(format!("sqlite:{}", dir.path().join("other.db").display()))] {
            let store = open(url.as_deref(), dir.path()).unwrap();
            let transaction = store.begin().unwrap();
            let mut state = transaction.snapshot().state.clone();
            crate::ops::ensure_default_vpc(&mut state);
            transaction.commit(&state).unwrap();
        }
        assert!(dir.path().join("state.db").exists());
        assert!(dir.path().join("other.db").exists());
    }
}
