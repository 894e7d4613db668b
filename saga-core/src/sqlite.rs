//! What the SQLite files of a store and of an embedded log have in common: how their write-ahead logs are kept small.
//!
//! SQLite copies its log into the database file as it grows, but starts the log from its beginning again only when a writer finds no
//! reader. With readers at all times, the log would grow for as long as the program runs. So a writer with a large log waits for a moment,
//! in which the readers can finish.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use sqlx::{AssertSqlSafe, SqliteConnection};

/// The number of commits between two checks of the log's size.
const LOOK_EVERY: u32 = 64;
/// The most checks that are skipped after one in which the readers did not finish. One is skipped at first, and twice as many each time.
const REST: u32 = 16;
/// How long a writer waits for the readers, in milliseconds.
const PATIENCE_MS: u32 = 200;

/// Returns the path of the write-ahead log of the database `file`. It exists as long as the database is open.
pub(crate) fn write_ahead_log(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push("-wal");
    name.into()
}

/// Returns the size of the write-ahead log of the database `file`, in bytes.
pub(crate) async fn log_bytes(file: &Path) -> u64 {
    tokio::fs::metadata(write_ahead_log(file)).await.map_or(0, |found| found.len())
}

/// Truncates the write-ahead log of one writer's database when it is large.
#[derive(Debug)]
pub(crate) struct Trim {
    file: PathBuf,
    limit: u64,
    /// Commits until the next check.
    left: u32,
    /// Checks to skip after the next one in which the readers do not finish.
    rest: u32,
}

impl Trim {
    /// Keeps the write-ahead log of the database `file` at about `limit` bytes.
    pub(crate) fn new(file: &Path, limit: u64) -> Self {
        Self { file: file.to_owned(), limit, left: LOOK_EVERY, rest: 1 }
    }

    /// Called after each commit, with the connection that made it, which has no open transaction: truncates the log if it is large.
    /// `busy_timeout` is the setting of the connection, in milliseconds, which is restored.
    pub(crate) async fn committed(&mut self, connection: &mut SqliteConnection, busy_timeout: u128) {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return;
        }
        self.left = LOOK_EVERY;
        if log_bytes(&self.file).await <= self.limit {
            return;
        }
        // An error is ignored here: the next transaction on this connection fails with it.
        let sql =
            format!("PRAGMA busy_timeout = {PATIENCE_MS}; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout = {busy_timeout}");
        let _ = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
        if log_bytes(&self.file).await > self.limit {
            self.left = LOOK_EVERY * (1 + self.rest);
            self.rest = REST.min(self.rest * 2);
        } else {
            self.rest = 1;
        }
    }
}
