//! The settings of a session on the server, and how they are restored.
//!
//! A handler's statements can change their session: settings, the role, temporary tables, and locks that outlive the transaction. These
//! changes would affect the next handler. So the session of a connection that user code has had is restored before the connection returns
//! to its pool. After a commit, this is part of the same message to the server and needs no further round trip.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Postgres, Row};
use sqlx_core::transaction::TransactionManager;
use tokio::time::timeout;

use super::{super::StoreError, options::PostgresOptions, text::quoted};

/// How long to wait for a response that only decides whether a connection is kept.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// How long a connection for reading is used. A statement that was prepared before its table was changed fails on its connection until that
/// is closed, and the framework does not see the errors of a service's own statements.
const READERS: Duration = Duration::from_secs(60);

/// The first release of the server that checks the connection to its client while a statement runs (`client_connection_check_interval`).
const LOOKS_FOR_ITS_CLIENT: u32 = 140_000;

/// The purpose of a pool of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Transactions,
    Reading,
    /// The coordination of a service's processes.
    Sharing,
}

/// The sessions of one pool.
#[derive(Debug)]
pub(super) struct Session {
    purpose: Purpose,
    /// The settings that do not depend on the server, as statements.
    settings: String,
    /// The statements that restore a session to the state in which it was established, from the most recent session.
    pub(super) restore: RwLock<Arc<str>>,
}

impl Session {
    pub(super) fn new(options: &PostgresOptions, purpose: Purpose) -> Self {
        Self { purpose, settings: settings(options, purpose), restore: RwLock::default() }
    }

    /// Returns the statements that restore a session after the end of a transaction.
    pub(super) fn restore(&self) -> Arc<str> {
        Arc::clone(&self.restore.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The lifetime of a connection; `None` for no limit.
    pub(super) fn longest(&self) -> Option<Duration> {
        (self.purpose == Purpose::Reading).then_some(READERS)
    }

    /// Applies the settings to a new session.
    pub(super) async fn establish(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let mut settings = self.settings.clone();
        if connection.server_version_num().is_some_and(|version| version >= LOOKS_FOR_ITS_CLIENT) {
            settings.push_str("SET client_connection_check_interval = 1000; ");
        }
        let mut ended = "";
        if self.purpose == Purpose::Transactions {
            // From here on, sqlx counts one open transaction, so a transaction that user code begins is a savepoint.
            <Postgres as sqlx::Database>::TransactionManager::begin(connection, None).await?;
            ended = "COMMIT; ";
        }
        let sql = format!("{settings}{ended}SELECT pg_is_in_recovery(), current_setting('synchronous_commit')");
        let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        if self.purpose != Purpose::Reading && row.try_get_unchecked::<String, _>(0)? == "t" {
            return Err(StoreError::Unavailable("the server is a standby and takes no writes; name the primary".into()).into());
        }
        if self.purpose != Purpose::Sharing {
            // With `off`, a crash of the server loses commits. A value that is stronger than `on` is kept.
            let found = row.try_get_unchecked::<String, _>(1)?;
            let waits = format!("SET synchronous_commit = {}; ", if found == "off" { "on" } else { &found });
            if found == "off" {
                connection.execute(sqlx::raw_sql(AssertSqlSafe(waits.clone()))).await?;
            }
            settings.push_str(&waits);
        }
        self.learn(&settings);
        Ok(())
    }

    /// Stores the statements that restore a session with these settings.
    ///
    /// They restore everything that `DISCARD ALL` resets, except prepared statements, which sqlx caches, and the cached values of
    /// sequences. These statements cost less than a query that calls functions for the same purpose.
    fn learn(&self, settings: &str) {
        let restore = format!(
            "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; {settings}CLOSE ALL; UNLISTEN *; DISCARD TEMP; \
             SELECT pg_advisory_unlock_all()"
        );
        if *self.restore() != *restore {
            *self.restore.write().unwrap_or_else(PoisonError::into_inner) = restore.into();
        }
    }

    /// Ends the open transaction of a connection that user code has had, and restores the session. Returns whether the connection can be
    /// kept.
    ///
    /// The framework does not know which of the user's statements have failed, and why. A statement that was prepared before its table was
    /// changed would fail every time (0A000, *cached plan must not change result type*), so the cache of prepared statements is cleared.
    pub(super) async fn roll_back(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        let sql = format!("ROLLBACK; SHOW transaction_read_only; {}", self.restore());
        let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        connection.clear_cached_statements().await?;
        Ok(row.try_get_unchecked::<String, _>(0)? == "off")
    }

    /// Restores the session of a connection that returns to its pool, unless this is one for transactions, whose session is restored
    /// earlier. Returns whether the connection can be kept: a query may have been dropped while it ran.
    pub(super) async fn released(&self, connection: &mut PgConnection) -> bool {
        let restored = async { connection.execute(sqlx::raw_sql(AssertSqlSafe(self.restore()))).await };
        self.purpose == Purpose::Transactions || matches!(timeout(GRACE, restored).await, Ok(Ok(_)))
    }
}

/// The settings of a session on every server, as statements.
fn settings(options: &PostgresOptions, purpose: Purpose) -> String {
    // These override the settings of the role and the database. With the keepalive settings, the server detects within 90 s that the
    // machine of a client has failed.
    let mut sql = format!(
        "SET search_path TO {}, public; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
         SET standard_conforming_strings = on; SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; ",
        quoted(&options.schema),
        options.lock_timeout.as_millis(),
        options.idle_transaction_timeout.as_millis(),
    );
    if purpose != Purpose::Transactions {
        // Each transaction sets this when it begins: see `bounds::Bounds`.
        sql.push_str("SET default_transaction_isolation = 'read committed'; SET default_transaction_deferrable = off; ");
    }
    if purpose == Purpose::Reading || options.read_only {
        sql.push_str("SET default_transaction_read_only = on; ");
    }
    if purpose == Purpose::Sharing {
        // Processes send this data again within seconds, so a crash of the server can lose it.
        sql.push_str("SET synchronous_commit = off; ");
    }
    sql
}
