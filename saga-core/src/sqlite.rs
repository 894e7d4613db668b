//! What the SQLite files of a store and of an embedded log have in common: how their write-ahead logs are kept small.
//!
//! SQLite brings its log into the file as it grows, but begins it again only when a writer finds nobody reading. Where somebody
//! always reads, the log would grow as long as the program runs: so a writer whose log is large waits a moment for those who read
//! to move on.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use sqlx::{AssertSqlSafe, SqliteConnection};

/// Commits from one look at the log to the next.
const LOOK_EVERY: u32 = 64;
/// How many looks at most are left out after one on which those who read did not move on: one at first, then twice as many each time.
const REST: u32 = 16;
/// How long a writer waits for those who read, in milliseconds.
const PATIENCE_MS: u32 = 200;

/// SQLite's log of the database `file`, which is there as long as somebody has it open.
pub(crate) fn write_ahead_log(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push("-wal");
    name.into()
}

/// How large the log of the database `file` is, in bytes.
pub(crate) async fn log_bytes(file: &Path) -> u64 {
    tokio::fs::metadata(write_ahead_log(file)).await.map_or(0, |found| found.len())
}

/// What a writer does about its log.
#[derive(Debug)]
pub(crate) struct Trim {
    file: PathBuf,
    limit: u64,
    /// Commits until the next look.
    left: u32,
    /// Looks to leave out after the next one on which those who read do not move on.
    rest: u32,
}

impl Trim {
    /// Keeps the log of the database `file` at about `limit` bytes.
    pub(crate) fn new(file: &Path, limit: u64) -> Self {
        Self { file: file.to_owned(), limit, left: LOOK_EVERY, rest: 1 }
    }

    /// After a commit, on the connection that made it and has no transaction open: has the log begun again if it is large.
    /// `busy_timeout` is that of the connection, in milliseconds.
    pub(crate) async fn committed(&mut self, connection: &mut SqliteConnection, busy_timeout: u128) {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return;
        }
        self.left = LOOK_EVERY;
        if log_bytes(&self.file).await <= self.limit {
            return;
        }
        // What goes wrong here, the next transaction on this connection shows.
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
