//! A store in a schema of a PostgreSQL database.
//!
//! Transactions run in parallel, on the connections of a bounded pool. The framework writes many rows with one statement. The names of its
//! tables begin with `sagas_`; they are in the service's schema, next to the service's own tables.

mod bounds;
mod connect;
mod errors;
mod fitness;
mod handled;
mod joined;
mod migrate;
mod options;
mod parameters;
mod replays;
mod sagas;
mod search_path;
mod session;
mod settings;
mod sharing;
mod statements;
mod text;
mod unit;
mod url;

#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::PgConnection;

pub use options::PostgresOptions;
pub use settings::PostgresSettings;

pub(super) use errors::{database_error, is_lost};

use self::{
    connect::Connector,
    joined::KnownOutbox,
    statements::{
        Failed, clock, dead_letters, inbox, letter_queries, outbox, parked,
        partitions::{self, Merge},
        topics,
    },
    unit::Unit,
};
use super::{
    Advice, DeadLetter, DeadLetterFilter, DeadLetterId, HandledStore, InboxKey, KeptClock, LetterHead, LetterSummary, Migrate,
    Migration, OutboxId, OutboxRow, Ownership, ParkedKey, ParkedMessage, PrunedLetters, PublishTx, ReplayStore, SagaStore,
    Sharing, SqlConnection, SqlReader, Store, StoreError, StoreTx,
};
use crate::{
    message::{Shards, TopicPartition},
    time::Timestamp,
};

/// How long [`Store::check`] waits. It is less than the timeout of a health request.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);

/// Runs `$statement` on `$connection`, a connection for `$purpose`. This is a macro because the compiler cannot prove that the future of an
/// async closure is `Send`.
macro_rules! ask {
    ($store:expr, $purpose:ident, $connection:ident => $statement:expr) => {{
        let connector = &$store.connector;
        let attempts = connector.$purpose();
        loop {
            let mut held = attempts.connection().await?;
            let $connection = held.connection()?;
            let answer = tokio::time::timeout(connector.options.answer_timeout, $statement).await;
            match attempts.weigh(answer) {
                Some(Ok(value)) => {
                    held.hand_back();
                    break Ok(value);
                }
                Some(Err(error)) => break Err(error),
                None => drop(held),
            }
        }
    }};
}

use ask;

/// A store in a schema of a PostgreSQL database.
///
/// ```no_run
/// # use saga_core::store::{Store, StoreTx, postgres::PostgresStore};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = PostgresStore::open("postgres://shop:secret@127.0.0.1/shop?schema=inventory".parse()?).await?;
/// store.migrate().await?;
/// store.begin().await?.commit().await?;
/// store.close().await;
/// # Ok::<(), saga_core::store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct PostgresStore {
    connector: Arc<Connector>,
    outbox: KnownOutbox,
}

impl PostgresStore {
    /// Connects to the server, and creates the schema if it does not exist. [`Store::migrate`] creates the tables. The store works as long
    /// as the Tokio runtime in which it was opened.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses the user, or when the database cannot be used. The error then lists all reasons: the
    /// database is read-only, its encoding is not UTF-8, the schema does not exist and the user cannot create it, the user lacks rights, or
    /// a pooler in front of the server shares sessions. When the schema would hide tables of the program whose pool was given to
    /// [`PostgresOptions::from_pool`].
    pub async fn open(mut options: PostgresOptions) -> Result<Self, StoreError> {
        let program = options.program.take();
        let connector = Arc::new(Connector::new(options));
        fitness::verify(&connector).await?;
        if let Some(pool) = &program {
            search_path::verify(&connector, pool).await?;
        }
        if connector.options.migrate == Migrate::Apply {
            migrate::schema(&connector).await?;
        }
        let store = Self::on(connector);
        if program.is_none()
            && let Some(warning) = store.warning().await?
        {
            tracing::warn!(database = store.connector.name, "{warning}");
        }
        Ok(store)
    }

    /// A warning about what the name of the schema does to other sessions of its user.
    async fn warning(&self) -> Result<Option<String>, StoreError> {
        ask!(self, reading, connection => search_path::warning(connection, &self.connector.options.schema))
    }

    /// Returns SQL that creates the framework's tables and records which migrations have run, for another migration tool, which must run it
    /// in one transaction. The script contains the migrations after the version `after`; 0 for all. It creates the tables in the first
    /// schema of `search_path`.
    pub fn migrations_script(after: u32) -> String {
        migrate::script(after)
    }

    /// Opens a schema for reading only, on the primary or on a standby. Nothing is created, migrated or written, and writes are refused.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`] when the schema has none of the framework's tables, [`StoreError::Incompatible`] when the tables are
    /// those of another version. Also when the server cannot be reached or refuses the user.
    pub async fn open_read_only(options: PostgresOptions) -> Result<Self, StoreError> {
        let store = Self::on(Arc::new(Connector::new(PostgresOptions { read_only: true, ..options })));
        migrate::complete_ours(&store).await?;
        Ok(store)
    }

    /// Opens an existing schema for reading and writing, while its programs run. Nothing is created or migrated.
    ///
    /// # Errors
    /// As [`open_read_only`](Self::open_read_only).
    pub async fn open_existing(options: PostgresOptions) -> Result<Self, StoreError> {
        let store = Self::on(Arc::new(Connector::new(options)));
        migrate::complete_ours(&store).await?;
        Ok(store)
    }

    /// Returns the schemas of the database that have the framework's tables. The schema in `options` is ignored.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses the user.
    pub async fn schemas(options: PostgresOptions) -> Result<Vec<String>, StoreError> {
        let store = Self::on(Arc::new(Connector::new(PostgresOptions { read_only: true, ..options })));
        let schemas = ask!(store, reading, connection => migrate::schemas(connection));
        store.close().await;
        schemas
    }

    fn on(connector: Arc<Connector>) -> Self {
        Self { connector, outbox: KnownOutbox::default() }
    }

    /// Runs `statement` in its own transaction.
    async fn write<T>(&self, statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failed>) -> Result<T, StoreError> {
        let mut unit = Unit::begin(&self.connector).await?;
        let value = unit.run(statement).await?;
        Box::new(unit).commit().await?;
        Ok(value)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        migrate::ours(&self.connector).await?;
        ask!(self, reading, connection => fitness::rights(connection, &self.connector.options.schema))
    }

    async fn migrate_set(&self, set: &str, migrations: &[Migration]) -> Result<(), StoreError> {
        migrate::theirs(&self.connector, set, migrations).await
    }

    async fn begin(&self) -> Result<Box<dyn StoreTx>, StoreError> {
        Ok(Box::new(Unit::begin(&self.connector).await?))
    }

    async fn seen(&self, service: &str, keys: &[InboxKey]) -> Result<Vec<bool>, StoreError> {
        ask!(self, reading, connection => inbox::seen(connection, service, keys))
    }

    async fn outbox(&self, service: &str, after: OutboxId, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        ask!(self, reading, connection => outbox::after(connection, service, after, limit))
    }

    async fn outbox_of(
        &self,
        service: &str,
        shards: Shards,
        known: &[OutboxId],
        limit: usize,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        ask!(self, reading, connection => outbox::of_shards(connection, service, shards, known, limit))
    }

    fn sharing(&self) -> Option<&dyn Sharing> {
        Some(self)
    }

    async fn parked_keys(&self, service: &str) -> Result<Vec<ParkedKey>, StoreError> {
        ask!(self, reading, connection => parked::keys(connection, service))
    }

    async fn parked(&self, service: &str, topic: &str, key: &[u8], limit: usize) -> Result<Vec<ParkedMessage>, StoreError> {
        ask!(self, reading, connection => parked::of_key(connection, service, topic, key, limit))
    }

    fn sagas(&self) -> &dyn SagaStore {
        self
    }

    fn replays(&self) -> &dyn ReplayStore {
        self
    }

    fn handled(&self) -> &dyn HandledStore {
        self
    }

    async fn find_dead_letters(
        &self,
        service: &str,
        filter: &DeadLetterFilter,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<LetterSummary>, u64), StoreError> {
        ask!(self, reading, connection => letter_queries::page(connection, service, filter, offset, limit))
    }

    async fn dead_letter_heads(
        &self,
        service: &str,
        filter: &DeadLetterFilter,
        after: Option<&LetterHead>,
        limit: u32,
    ) -> Result<Vec<LetterHead>, StoreError> {
        ask!(self, reading, connection => letter_queries::heads(connection, service, filter, after, limit))
    }

    async fn dead_letters_by_id(&self, service: &str, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError> {
        ask!(self, reading, connection => letter_queries::by_id(connection, service, ids))
    }

    async fn dead_letter(&self, service: &str, id: &DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        ask!(self, reading, connection => letter_queries::one(connection, service, id))
    }

    async fn holding_letters(&self, service: &str, letters: &[LetterHead]) -> Result<HashSet<DeadLetterId>, StoreError> {
        let holding = ask!(self, reading, connection => dead_letters::holding(connection, service, letters))?;
        Ok(holding.into_iter().map(|(letter, _)| letter).collect())
    }

    async fn prune_inbox(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(async |connection| inbox::prune(connection, service, before, limit).await).await
    }

    async fn prune_dead_letters(
        &self,
        service: &str,
        open: Option<Timestamp>,
        settled: Option<Timestamp>,
        limit: u32,
    ) -> Result<PrunedLetters, StoreError> {
        self.write(async |connection| dead_letters::prune(connection, service, open, settled, limit).await).await
    }

    async fn acquire_partitions(&self, service: &str, partitions: &[TopicPartition]) -> Result<Vec<Ownership>, StoreError> {
        self.write(async |connection| partitions::own(connection, service, partitions).await).await
    }

    async fn advance(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError> {
        self.write(async |connection| partitions::apply(connection, service, applied, Merge::Forwards).await).await
    }

    async fn rewind(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError> {
        self.write(async |connection| partitions::apply(connection, service, applied, Merge::Replace).await).await
    }

    async fn record_partitions(&self, service: &str, topics: &[(String, i32)]) -> Result<Vec<bool>, StoreError> {
        self.write(async |connection| topics::note(connection, service, topics).await).await
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        ask!(self, reading, connection => clock::now(connection)).map(Some)
    }

    async fn clock(&self, service: &str) -> Result<Option<KeptClock>, StoreError> {
        ask!(self, reading, connection => clock::read(connection, service))
    }

    async fn save_clock(&self, service: &str, clock: &KeptClock) -> Result<(), StoreError> {
        self.write(async |connection| clock::keep(connection, service, clock).await).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.connector.may_write()?;
        let check = async { ask!(self, reading, connection => fitness::check(connection, &self.connector)) };
        tokio::time::timeout(CHECK_PATIENCE, check).await.map_err(|_| {
            let (name, limit) = (&self.connector.name, CHECK_PATIENCE.as_millis());
            StoreError::Unavailable(format!("{name}: reading and writing took more than {limit} ms"))
        })?
    }

    async fn advice(&self) -> Result<Vec<Advice>, StoreError> {
        let asked = async { ask!(self, reading, connection => fitness::advice(connection, &self.connector)) };
        let mut advice = tokio::time::timeout(CHECK_PATIENCE, asked).await.map_err(|_| self.connector.no_answer())??;
        advice.extend(fitness::pooled(&self.connector).await);
        advice.extend(self.connector.starving().await);
        Ok(advice)
    }

    async fn reader(&self) -> Result<Option<SqlReader>, StoreError> {
        Ok(Some(SqlReader::Postgres(self.connector.reader().await?)))
    }

    async fn join<'c>(&self, connection: SqlConnection<'c>) -> Result<Box<dyn PublishTx + 'c>, StoreError> {
        self.connector.may_write()?;
        Ok(Box::new(self.joined(connection.postgres()?).await?))
    }

    fn place(&self) -> String {
        self.connector.name.clone()
    }

    async fn version(&self) -> Option<String> {
        let asked = async { ask!(self, reading, connection => fitness::version(connection)) };
        tokio::time::timeout(CHECK_PATIENCE, asked).await.ok()?.ok()
    }

    async fn close(&self) {
        self.connector.close().await;
    }
}
