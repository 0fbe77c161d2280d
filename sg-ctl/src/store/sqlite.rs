//! The embedded store: one SQLite file, one row an object.
//!
//! Every commit is one SQLite transaction over the rows that changed, and only rows that somebody asks for are read, so a
//! state of a million objects costs what was touched. `BEGIN IMMEDIATE` takes the write lock before anything is read: two
//! commands at the same time run one after the other, and neither decides on what the other has replaced.
//!
//! The log is written ahead (`-wal` beside the file): a commit is one flush to the disk, and what was read from goes on as
//! it was for whoever reads. What a commit wrote stays in the log until there is enough of it; so a copy of the store is a
//! copy of both files.

use super::{Snapshot, Store, Transaction, objects, older, reader::Reader};
use crate::{
    error::{Refusal, Result, os_error},
    model::State,
};
use anyhow::Context as _;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, config::DbConfig, params};
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Version of the tables. An older store is read as it is and brought up to date by the first change; one with a higher
/// version was written by a later sg-ctl and is left alone.
///
/// 1: objects. 2: the entries of prefix lists, in rows of their own. 3: terms that objects are found by; entries by keys
/// that order as prefixes do.
const SCHEMA_VERSION: u64 = 3;
/// How long a command waits for others to end before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of the log from which on the next change moves it to the file first. Whoever opens the store when nobody else has
/// it open reads the log.
const LONG_LOG: u64 = 1 << 18;

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
        // Otherwise who ends last would move the log to the file, with three more flushes to the disk each time.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(connection)
    }

    /// Moves a long log to the file. Where somebody reads what is in it, that is for the next change.
    fn shorten_log(&self, connection: &Connection) -> Result<()> {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        if fs::metadata(log).map_or(0, |log| log.len()) >= LONG_LOG {
            connection.busy_timeout(Duration::ZERO)?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
        }
        Ok(())
    }

    /// The store as it is now, read when it is asked for; what an older version wrote is read at once. A file without any
    /// table is a store whose first commit has not happened.
    fn look(&self, connection: Connection) -> Result<Snapshot> {
        // Revision and objects belong together.
        connection.execute_batch("BEGIN")?;
        let Some(version) = version(&connection)? else { return Ok(Snapshot::default()) };
        objects::check_kinds(&connection)?;
        let (revision, store_id) = (meta(&connection, "revision")?, meta(&connection, "store_id")?);
        let state = if version < SCHEMA_VERSION {
            older::read(&connection, version)?
        } else {
            objects::state(&Arc::new(Reader::new(self.path.clone(), connection)))?
        };
        Ok(Snapshot { state, revision, store_id })
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
        let read = || self.look(self.connect()?);
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
            log_ahead(&connection)?;
            self.shorten_log(&connection)?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            let mut version = version(&connection)?;
            if version.is_none() {
                // A new store gets its name before anything else happens under it.
                create_tables(&connection)?;
                set_meta(&connection, "revision", 0)?;
                set_meta(&connection, "store_id", rand::random_range(1..=u64::MAX))?;
                connection.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
                version = Some(SCHEMA_VERSION);
            }
            // Nobody else writes meanwhile, so this is what the change starts from; and goes on being that after it.
            let snapshot = self.look(self.connect()?)?;
            let is_current = version == Some(SCHEMA_VERSION);
            Ok(SqliteTransaction { path: self.path.clone(), connection, snapshot, is_current })
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
    /// Its tables are those of this version.
    is_current: bool,
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
            if self.is_current {
                objects::write_changes(&self.connection, &self.snapshot.state, state)?;
            } else {
                older::rewrite(&self.connection, state)?;
                set_meta(&self.connection, "schema_version", SCHEMA_VERSION)?;
            }
            set_meta(&self.connection, "revision", revision)?;
            self.connection.execute_batch("COMMIT")?;
            Ok(())
        };
        write().map_err(|error| explain(&self.path, error))?;
        Ok(revision)
    }
}

/// Has the store log ahead from now on, and each commit on the disk when it returns.
fn log_ahead(connection: &Connection) -> Result<()> {
    let mode = |pragma| connection.query_row(pragma, [], |row| row.get::<_, String>(0));
    if mode("PRAGMA journal_mode")? != "wal" {
        // What is not a store is left as it is.
        version(connection)?;
        anyhow::ensure!(
            mode("PRAGMA journal_mode = WAL")? == "wal",
            "its file system has no shared memory for SQLite's write-ahead log; give a --state-dir on a local one"
        );
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A commit is not the moment: who committed still reads what was there before it, so the log could not begin anew.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(())
}

fn create_tables(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;",
    )?;
    objects::create_tables(connection)?;
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

/// The version of the tables, where there are any.
fn version(connection: &Connection) -> Result<Option<u64>> {
    let tables = tables(connection)?;
    if tables.is_empty() {
        return Ok(None);
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
    Ok(Some(version))
}

/// One sentence: which file, what is wrong with it, what to do.
pub fn explain(path: &Path, error: anyhow::Error) -> anyhow::Error {
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
             with an empty store, with the files beside it that begin with its name"
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
#[path = "lazy_tests.rs"]
mod lazy_tests;
#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
