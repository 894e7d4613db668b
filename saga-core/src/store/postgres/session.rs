//! What a session of the server is like when it is used, and how it comes back to that.
//!
//! A handler's statements can change the session they run in: settings, the role, temporary tables, locks that no transaction ends. What
//! is left when they have ended would be met by another handler. So a connection that was lent is set right before it goes back to its
//! pool: after a commit by the same message to the server, which costs no further round trip.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Postgres, Row};
use sqlx_core::transaction::TransactionManager;
use tokio::time::timeout;

use super::{
    super::StoreError,
    connect::{GRACE, quoted},
    options::PostgresOptions,
};

/// How long a connection for reading is used: nobody sees what a service's own statements are answered on it, and one that was prepared
/// before its table was changed fails as long as the connection lives.
const READERS: Duration = Duration::from_secs(60);

/// The first release whose server can look for its client while a statement runs.
const LOOKS_FOR_ITS_CLIENT: u32 = 140_000;

/// What pools of connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Transactions,
    Reading,
    /// What instances tell each other.
    Sharing,
}

/// The sessions for one purpose.
#[derive(Debug)]
pub(super) struct Session {
    purpose: Purpose,
    /// The settings that do not depend on the server, as statements.
    settings: String,
    /// The statements by which a session is again what it was when it was established. As the last session was found.
    pub(super) restore: RwLock<Arc<str>>,
}

impl Session {
    pub(super) fn new(options: &PostgresOptions, purpose: Purpose) -> Self {
        Self { purpose, settings: settings(options, purpose), restore: RwLock::default() }
    }

    /// The statements, for after the end of a transaction, by which a session is what it was before it was lent.
    pub(super) fn restore(&self) -> Arc<str> {
        Arc::clone(&self.restore.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long a connection is used.
    pub(super) fn longest(&self) -> Option<Duration> {
        (self.purpose == Purpose::Reading).then_some(READERS)
    }

    /// Makes a new session what the others are.
    pub(super) async fn establish(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let mut settings = self.settings.clone();
        if connection.server_version_num().is_some_and(|version| version >= LOOKS_FOR_ITS_CLIENT) {
            settings.push_str("SET client_connection_check_interval = 1000; ");
        }
        let mut ended = "";
        if self.purpose == Purpose::Transactions {
            // From here on sqlx believes that a transaction is open, so that one which user code begins is a savepoint in ours.
            <Postgres as sqlx::Database>::TransactionManager::begin(connection, None).await?;
            ended = "COMMIT; ";
        }
        let sql = format!("{settings}{ended}SELECT pg_is_in_recovery(), current_setting('synchronous_commit')");
        let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        if self.purpose != Purpose::Reading && row.try_get_unchecked::<String, _>(0)? == "t" {
            return Err(StoreError::Unavailable("the server is a standby and takes no writes; name the primary".into()).into());
        }
        if self.purpose != Purpose::Sharing {
            // A commit that is not waited for is lost in a crash. Stronger than `on` may stay.
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

    /// Takes note of what a session is restored by that has these settings.
    ///
    /// It is everything that `DISCARD ALL` lets go of, except prepared statements, which sqlx knows, and what sequences have handed out.
    /// A query that has no rows costs less than one that calls functions for the same.
    fn learn(&self, settings: &str) {
        let restore = format!(
            "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; {settings}CLOSE ALL; UNLISTEN *; DISCARD TEMP; \
             SELECT pg_advisory_unlock_all()"
        );
        if *self.restore() != *restore {
            *self.restore.write().unwrap_or_else(PoisonError::into_inner) = restore.into();
        }
    }

    /// Ends what is open on a connection that was lent, and makes the session what it was. Says whether the connection can be kept.
    ///
    /// Nobody knows here which of its statements have failed, and why. One that was prepared before its table was changed would fail
    /// again and again (0A000, *cached plan must not change result type*): so all of them are prepared anew.
    pub(super) async fn roll_back(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        let sql = format!("ROLLBACK; SHOW transaction_read_only; {}", self.restore());
        let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        connection.clear_cached_statements().await?;
        Ok(row.try_get_unchecked::<String, _>(0)? == "off")
    }

    /// Restores the session of a connection that comes back to its pool, where that was not done by then. Says whether it can be
    /// kept: a query may have been dropped while it ran.
    pub(super) async fn released(&self, connection: &mut PgConnection) -> bool {
        let restored = async { connection.execute(sqlx::raw_sql(AssertSqlSafe(self.restore()))).await };
        self.purpose == Purpose::Transactions || matches!(timeout(GRACE, restored).await, Ok(Ok(_)))
    }
}

/// The settings of a session on any server, as statements.
fn settings(options: &PostgresOptions, purpose: Purpose) -> String {
    // What the role or the database has set otherwise does not count. The server finds out within 90 s that the machine of a client
    // is gone.
    let mut sql = format!(
        "SET search_path TO {}, public; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
         SET standard_conforming_strings = on; SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; ",
        quoted(&options.schema),
        options.lock_timeout.as_millis(),
        options.idle_transaction_timeout.as_millis(),
    );
    if purpose != Purpose::Transactions {
        // Each transaction says it at its beginning: see `unit`.
        sql.push_str("SET default_transaction_isolation = 'read committed'; SET default_transaction_deferrable = off; ");
    }
    if purpose == Purpose::Reading || options.read_only {
        sql.push_str("SET default_transaction_read_only = on; ");
    }
    if purpose == Purpose::Sharing {
        // What a crash of the server forgets is said again within seconds.
        sql.push_str("SET synchronous_commit = off; ");
    }
    sql
}
