//! The storage of the simulated gateway: charges and refunds, in its own SQLite file or in tables in a PostgreSQL database.

use std::{
    collections::HashSet,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sagas::store::postgres::PostgresOptions;
use sqlx::{
    PgPool, Row, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

const SQLITE_TABLES: &str = "
    CREATE TABLE IF NOT EXISTS gateway_charges (
        idempotency_key TEXT PRIMARY KEY, order_id TEXT NOT NULL, amount BIGINT NOT NULL, declined TEXT);
    CREATE TABLE IF NOT EXISTS gateway_refunds (idempotency_key TEXT PRIMARY KEY);";

/// Several processes can start at once, and concurrent `CREATE TABLE IF NOT EXISTS` statements can fail: the advisory lock
/// serializes them.
const POSTGRES_TABLES: &str = "
    BEGIN;
    SELECT pg_advisory_xact_lock(7203746);
    CREATE TABLE IF NOT EXISTS gateway_charges (
        idempotency_key TEXT PRIMARY KEY, order_id TEXT NOT NULL, amount BIGINT NOT NULL, declined TEXT);
    CREATE TABLE IF NOT EXISTS gateway_refunds (idempotency_key TEXT PRIMARY KEY);
    COMMIT;";

/// The size to which SQLite truncates its write-ahead log after a checkpoint, in bytes.
const LOG_BYTES: u32 = 4 << 20;
/// The number of writes after which the write-ahead log is checkpointed and restarted. This waits for readers.
const CHECKPOINT_EVERY: u32 = 1_000;

/// The gateway's record of charges and refunds.
pub struct Ledger {
    tables: Tables,
    /// The number of writes since the start.
    writes: AtomicU32,
}

enum Tables {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Evaluates `$run` with the pool of either database.
macro_rules! on {
    ($ledger:expr, $pool:ident => $run:expr) => {
        match &$ledger.tables {
            Tables::Sqlite($pool) => $run,
            Tables::Postgres($pool) => $run,
        }
    };
}

impl Ledger {
    /// Opens the ledger in the file `path`, which is created if it does not exist.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub async fn file(path: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        Self::sqlite(options).await
    }

    /// Creates a ledger in memory.
    ///
    /// # Errors
    /// When SQLite cannot open an in-memory database.
    pub async fn memory() -> Result<Self, sqlx::Error> {
        Self::sqlite(SqliteConnectOptions::new().in_memory(true)).await
    }

    async fn sqlite(options: SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let options = options
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(2))
            .pragma("journal_size_limit", LOG_BYTES.to_string());
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::raw_sql(SQLITE_TABLES).execute(&pool).await?;
        Ok(Self { tables: Tables::Sqlite(pool), writes: AtomicU32::new(0) })
    }

    /// Opens the ledger in the PostgreSQL database of the services, with the same connection options.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub async fn postgres(options: &PostgresOptions) -> Result<Self, sqlx::Error> {
        let pool = PgPoolOptions::new().max_connections(4).connect_with(options.connect_options()).await?;
        sqlx::raw_sql(POSTGRES_TABLES).execute(&pool).await?;
        Ok(Self { tables: Tables::Postgres(pool), writes: AtomicU32::new(0) })
    }

    /// Records a charge, unless `key` already has one. Returns why the first charge was declined, if it was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn charge(
        &self,
        key: &str,
        order_id: &str,
        amount: i64,
        declined: Option<String>,
    ) -> Result<Option<String>, sqlx::Error> {
        const CHARGE: &str = "INSERT INTO gateway_charges (idempotency_key, order_id, amount, declined) VALUES ($1, $2, $3, $4)
             ON CONFLICT (idempotency_key) DO UPDATE SET declined = gateway_charges.declined RETURNING declined";
        // `fetch_all`, although the statement returns one row: SQLite does not checkpoint its log while a statement has not run
        // to its end.
        let declined = on!(self, pool => {
            let charged = sqlx::query(CHARGE).bind(key).bind(order_id).bind(amount).bind(declined).fetch_all(pool).await?;
            charged.first().ok_or(sqlx::Error::RowNotFound)?.try_get("declined")?
        });
        self.wrote().await?;
        Ok(declined)
    }

    /// Records that the charge with `key` was refunded.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refund(&self, key: &str) -> Result<(), sqlx::Error> {
        const REFUND: &str = "INSERT INTO gateway_refunds (idempotency_key) VALUES ($1) ON CONFLICT DO NOTHING";
        on!(self, pool => sqlx::query(REFUND).bind(key).execute(pool).await.map(drop))?;
        self.wrote().await
    }

    /// Returns the orders that were charged more than once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn charged_twice(&self) -> Result<Vec<String>, sqlx::Error> {
        const TWICE: &str = "SELECT order_id FROM gateway_charges WHERE declined IS NULL GROUP BY order_id HAVING COUNT(*) > 1";
        on!(self, pool => sqlx::query_scalar(TWICE).fetch_all(pool).await)
    }

    /// Returns the orders that were charged and not refunded.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kept(&self) -> Result<HashSet<String>, sqlx::Error> {
        const KEPT: &str = "SELECT order_id FROM gateway_charges AS charge WHERE declined IS NULL
                            AND NOT EXISTS (SELECT 1 FROM gateway_refunds WHERE idempotency_key = charge.idempotency_key)";
        let kept: Vec<String> = on!(self, pool => sqlx::query_scalar(KEPT).fetch_all(pool).await)?;
        Ok(kept.into_iter().collect())
    }

    /// Closes the database.
    pub async fn close(&self) {
        on!(self, pool => pool.close().await);
    }

    /// Counts a write. SQLite restarts its write-ahead log only when nothing reads from it, so one write of `CHECKPOINT_EVERY`
    /// waits for readers.
    async fn wrote(&self) -> Result<(), sqlx::Error> {
        if let Tables::Sqlite(pool) = &self.tables
            && self.writes.fetch_add(1, Ordering::Relaxed) % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1
        {
            // A reader that outlasts the busy timeout does not fail the write; a later checkpoint restarts the log.
            sqlx::query("PRAGMA wal_checkpoint(RESTART)").fetch_all(pool).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn the_write_ahead_log_stays_small_beside_a_reader() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway of 100%.sqlite");
        let ledger = Ledger::file(&path).await.unwrap();
        let options = SqliteConnectOptions::new().filename(&path).read_only(true);
        let reader = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        for charge in 0..6_000 {
            ledger.charge(&format!("key {charge}"), "order", 1, None).await.unwrap();
            if charge % 10 == 0 {
                sqlx::query("SELECT COUNT(*) FROM gateway_charges").fetch_one(&reader).await.unwrap();
            }
        }
        let log = std::fs::metadata(folder.path().join("gateway of 100%.sqlite-wal")).unwrap().len();
        assert!(log < 2 * u64::from(LOG_BYTES), "the log has {log} bytes");
        ledger.close().await;
    }
}
