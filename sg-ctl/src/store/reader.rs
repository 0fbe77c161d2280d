//! One moment of the SQLite store, for as long as anybody looks at it.

use super::sqlite::explain;
use crate::error::Result;
use rusqlite::{Connection, Row};
use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// A connection inside a read transaction: whatever others commit meanwhile, it sees what was there when it began. That is
/// what write-ahead logging gives, and it holds nobody up.
pub struct Reader {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Reader {
    /// Of a connection whose transaction has begun, to the store in that file.
    pub fn new(path: PathBuf, connection: Connection) -> Self {
        Self { path, connection: Mutex::new(connection) }
    }

    /// Asks one question.
    ///
    /// # Errors
    /// What the question came to, with the store's name.
    pub fn ask<T>(&self, question: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        // A connection that somebody left in the middle of a question takes the next one.
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        question(&connection).map_err(|error| explain(&self.path, error))
    }
}

/// The count that a row is.
pub fn count(row: &Row<'_>) -> rusqlite::Result<usize> {
    Ok(row.get::<_, u32>(0)? as usize)
}
