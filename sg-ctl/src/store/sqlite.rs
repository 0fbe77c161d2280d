//! The embedded store: one SQLite file, one row an object.
//!
//! Every commit is one SQLite transaction over the rows that changed, so a state of a million objects costs what was
//! touched. `BEGIN IMMEDIATE` takes the write lock before anything is read: two commands at the same time run one
//! after the other, and neither decides on what the other has replaced.

use super::{Snapshot, Store, Transaction, entries, objects};
use crate::{
    error::{Refusal, Result, os_error},
    model::State,
};
use anyhow::Context as _;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// Version of the tables. An older store is read as it is and brought up to date by the first change; one with a higher
/// version was written by a later sg-ctl and is left alone.
///
/// 1: objects. 2: the entries of prefix lists, in rows of their own.
const SCHEMA_VERSION: u64 = 2;
/// How long a command waits for others to end before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A store in one file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    path: PathBuf,
}

impl SqliteStore {
    /// The store in that file, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes an empty file that only its owner may read, in a directory that only its owner may enter. What exists
    /// already is left as it is.
    fn create_file(&self) -> std::io::Result<()> {
        if let Some(dir) = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    fn exists(&self) -> Result<bool> {
        match fs::metadata(&self.path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.explain(error.into())),
        }
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        // Reading needs write access too: a journal that a crash left behind is rolled back by whoever comes first.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Above FULL: the directory is synced as well when the journal goes, so a commit survives a power cut.
        connection.pragma_update(None, "synchronous", "EXTRA")?;
        Ok(connection)
    }

    /// Says which store it was.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        explain(&self.path, error)
    }
}

impl Store for SqliteStore {
    fn read(&self) -> Result<Snapshot> {
        if !self.exists()? {
            return Ok(Snapshot::default());
        }
        let read = || -> Result<Snapshot> {
            let mut connection = self.connect()?;
            // One read transaction, so that revision and objects belong together.
            let transaction = connection.transaction()?;
            load(&transaction)
        };
        read().map_err(|error| self.explain(error))
    }

    fn revision(&self) -> Result<u64> {
        if !self.exists()? {
            return Ok(0);
        }
        let read = || -> Result<u64> {
            let connection = self.connect()?;
            if tables(&connection)?.is_empty() { Ok(0) } else { meta(&connection, "revision") }
        };
        read().map_err(|error| self.explain(error))
    }

    fn begin(&self) -> Result<Box<dyn Transaction + '_>> {
        let begin = || -> Result<SqliteTransaction> {
            self.create_file()?;
            let connection = self.connect()?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            let mut snapshot = load(&connection)?;
            if snapshot.store_id == 0 {
                // A new store gets its name before anything else happens under it.
                snapshot.store_id = rand::random_range(1..=u64::MAX);
                create_tables(&connection)?;
                set_meta(&connection, "revision", snapshot.revision)?;
                set_meta(&connection, "store_id", snapshot.store_id)?;
                connection.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
                snapshot = load(&connection)?;
            }
            Ok(SqliteTransaction { path: self.path.clone(), connection, snapshot })
        };
        let transaction = begin().map_err(|error| self.explain(error))?;
        Ok(Box::new(transaction))
    }
}

/// Holds the write lock. SQLite rolls back when the connection closes without a commit.
struct SqliteTransaction {
    path: PathBuf,
    connection: Connection,
    snapshot: Snapshot,
}

impl Transaction for SqliteTransaction {
    fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn commit(self: Box<Self>, state: &State) -> Result<u64> {
        if *state == self.snapshot.state {
            return Ok(self.snapshot.revision);
        }
        let revision = self.snapshot.revision + 1;
        let write = || -> Result<()> {
            create_tables(&self.connection)?;
            objects::write_changes(&self.connection, &self.snapshot.state, state)?;
            set_meta(&self.connection, "revision", revision)?;
            self.connection.execute_batch("COMMIT")?;
            Ok(())
        };
        write().map_err(|error| explain(&self.path, error))?;
        Ok(revision)
    }
}

fn create_tables(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
         CREATE TABLE IF NOT EXISTS objects (
             kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)
         ) STRICT, WITHOUT ROWID;",
    )?;
    entries::create_table(connection)?;
    set_meta(connection, "schema_version", SCHEMA_VERSION)
}

fn meta(connection: &Connection, key: &str) -> Result<u64> {
    let value: Option<String> =
        connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()?;
    let value = value.with_context(|| format!("its {key} is missing"))?;
    value.parse().with_context(|| format!("its {key} is '{value}'"))
}

fn set_meta(connection: &Connection, key: &str, value: u64) -> Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
        params![key, value.to_string()],
    )?;
    Ok(())
}

fn tables(connection: &Connection) -> Result<Vec<String>> {
    let mut query = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    Ok(query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Reads everything. A file without any table is a store whose first commit has not happened.
fn load(connection: &Connection) -> Result<Snapshot> {
    let tables = tables(connection)?;
    if tables.is_empty() {
        return Ok(Snapshot::default());
    }
    if !tables.iter().any(|name| name == "meta") || !tables.iter().any(|name| name == "objects") {
        anyhow::bail!("it is a database of something else than sg-ctl");
    }
    let version = meta(connection, "schema_version")?;
    if version > SCHEMA_VERSION {
        anyhow::bail!(
            "its schema is version {version} and this sg-ctl knows {SCHEMA_VERSION}; use the sg-ctl that wrote it, \
             or a later one"
        );
    }
    Ok(Snapshot {
        state: objects::load(connection, version)?,
        revision: meta(connection, "revision")?,
        store_id: meta(connection, "store_id")?,
    })
}

/// One sentence: which file, what is wrong with it, what to do.
fn explain(path: &Path, error: anyhow::Error) -> anyhow::Error {
    let path = path.display();
    if matches!(os_error(&error), Some(libc::EACCES | libc::EPERM)) {
        let message = format!("the store {path} is not this user's to use: {error:#}; run sg-ctl as root");
        return Refusal::new("UnauthorizedOperation", message).into();
    }
    let code = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    let message = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
            "the store {path} has been in use by another sg-ctl for {} s; try again when that has ended",
            BUSY_TIMEOUT.as_secs()
        ),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => format!(
            "the store {path} is damaged ({error}); it is left as it is: bring back a copy, or move it away to start \
             with an empty store"
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            // SQLite tells no more; a file that is there and cannot be opened is almost always somebody else's.
            let message = format!("the store {path} cannot be opened for writing; run sg-ctl as root");
            return Refusal::new("UnauthorizedOperation", message).into();
        }
        _ => format!("the store {path} cannot be used: {error:#}"),
    };
    Refusal::new("StoreError", message).into()
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
