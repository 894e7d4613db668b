//! What a session of the server is like when it is used, and how it comes back to that.
//!
//! A handler's statements can change the session they run in: settings, the role, temporary tables, locks that no transaction ends. What
//! is left when they have ended would be met by another handler. So a connection that was lent is set right before it goes back to its
//! pool: after a commit by the same message to the server, which costs no further round trip.

use std::{sync::Arc, time::Duration};

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
    establish: Arc<str>,
    restore: Arc<str>,
    roll_back: Arc<str>,
}

impl Session {
    pub(super) fn new(options: &PostgresOptions, purpose: Purpose) -> Self {
        let settings = settings(options, purpose);
        // From its establishment on sqlx believes that a transaction is open; see there.
        let ended = if purpose == Purpose::Transactions { "COMMIT; " } else { "" };
        let set = match purpose {
            Purpose::Sharing => CHECKED.to_owned(),
            _ => format!("{CHECKED}, {DURABLE}"),
        };
        let establish = format!("{settings}{ended}SELECT pg_is_in_recovery(), {set}");
        // Everything that `DISCARD ALL` lets go of, except prepared statements, which sqlx knows, and what sequences have handed out.
        let restore = format!(
            "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; {settings}CLOSE ALL; UNLISTEN *; DISCARD TEMP; SELECT \
             current_setting('transaction_read_only'), {set}, pg_advisory_unlock_all()"
        );
        let roll_back = format!("ROLLBACK; {restore}").into();
        Self { purpose, establish: establish.into(), restore: restore.into(), roll_back }
    }

    /// The statements, for after the end of a transaction, by which a session is what it was before it was lent.
    pub(super) fn restore(&self) -> &str {
        &self.restore
    }

    /// How long a connection is used.
    pub(super) fn longest(&self) -> Option<Duration> {
        (self.purpose == Purpose::Reading).then_some(READERS)
    }

    /// Makes a new session what the others are.
    pub(super) async fn establish(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.purpose == Purpose::Transactions {
            // From here on sqlx believes that a transaction is open, so that one which user code begins is a savepoint in ours.
            <Postgres as sqlx::Database>::TransactionManager::begin(connection, None).await?;
        }
        let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(Arc::clone(&self.establish)))).await?;
        if self.purpose != Purpose::Reading && row.try_get_unchecked::<String, _>(0)? == "t" {
            return Err(StoreError::Unavailable("the server is a standby and takes no writes; name the primary".into()).into());
        }
        Ok(())
    }

    /// Ends what is open on a connection that was lent, and makes the session what it was. Says whether the connection can be kept.
    ///
    /// Of what its statements failed nobody knows here. One that was prepared before its table was changed would fail again and again
    /// (0A000, *cached plan must not change result type*): so they are all forgotten.
    pub(super) async fn roll_back(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(Arc::clone(&self.roll_back)))).await?;
        connection.clear_cached_statements().await?;
        Ok(row.try_get_unchecked::<String, _>(0)? == "off")
    }

    /// Undoes what was done to the session of a connection that comes back to its pool, where nobody has done so yet. Says whether it can be kept: a query may
    /// have been dropped while it ran.
    pub(super) async fn released(&self, connection: &mut PgConnection) -> bool {
        if self.purpose == Purpose::Transactions {
            return true;
        }
        matches!(timeout(GRACE, connection.execute(sqlx::raw_sql(AssertSqlSafe(Arc::clone(&self.restore))))).await, Ok(Ok(_)))
    }
}

/// A server since release 14 finds out while a statement runs that its client is gone.
const CHECKED: &str = "CASE WHEN current_setting('server_version_num')::int >= 140000 \
                       THEN set_config('client_connection_check_interval', '1000', false) END";
/// A commit that is not waited for is lost in a crash. Stronger than `on` may stay.
const DURABLE: &str =
    "CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END";

/// The settings of a session, as statements.
fn settings(options: &PostgresOptions, purpose: Purpose) -> String {
    // What the role or the database has set otherwise does not count. The server finds out within 90 s that the machine of a client
    // is gone.
    let mut sql = format!(
        "SET search_path TO {}, public; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
         SET default_transaction_isolation = 'read committed'; SET default_transaction_deferrable = off; \
         SET standard_conforming_strings = on; SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; ",
        quoted(&options.schema),
        options.lock_timeout.as_millis(),
        options.idle_transaction_timeout.as_millis(),
    );
    if purpose == Purpose::Reading || options.read_only {
        sql.push_str("SET default_transaction_read_only = on; ");
    }
    if purpose == Purpose::Sharing {
        // What a crash of the server forgets is said again within seconds.
        sql.push_str("SET synchronous_commit = off; ");
    }
    sql
}
