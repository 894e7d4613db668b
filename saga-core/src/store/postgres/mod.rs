//! A store in a schema of a PostgreSQL database.
//!
//! Transactions run side by side, on connections of a bounded pool. What the framework writes has many rows per statement. The
//! framework's tables are called `sagas_…` and lie in the service's schema, beside its own.

mod connect;
mod errors;
mod fitness;
mod migrate;
mod options;
mod parameters;
mod replays;
mod sagas;
mod session;
mod settings;
mod sharing;
mod statements;
mod text;
mod unit;
mod url;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::PgConnection;

pub use options::PostgresOptions;
pub use settings::PostgresSettings;

pub(super) use errors::{database_error, is_lost};

use self::{
    connect::Connector,
    statements::{
        Failed, clock, dead_letters, inbox, letter_queries, outbox, parked,
        partitions::{self, Merge},
        topics,
    },
    unit::Unit,
};
use super::{
    Advice, DeadLetter, DeadLetterFilter, DeadLetterId, InboxKey, KeptClock, LetterHead, LetterSummary, Migration, OutboxId,
    OutboxRow, Ownership, ParkedKey, ParkedMessage, PrunedLetters, ReplayStore, SagaStore, Sharing, SqlReader, Store, StoreError,
    StoreTx,
};
use crate::{
    message::{Shards, TopicPartition},
    time::Timestamp,
};

/// How long [`Store::check`] waits: less than whoever asks for the health of a service.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);

/// Runs `$statement` on `$connection`, one of those for `$purpose`. A closure would do, were its future known to be `Send`.
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
}

impl PostgresStore {
    /// Connects, and makes the schema when it is missing. Its tables are made by [`Store::migrate`]. The store works as long as
    /// the runtime that opened it.
    ///
    /// # Errors
    /// When the server cannot be reached or does not let the user in. When the database cannot be used: it takes no writes, its
    /// encoding is not UTF-8, the schema is missing and may not be made, the user lacks rights, a pooler before it does not keep
    /// sessions apart; all of that is listed.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::new(options));
        fitness::verify(&connector).await?;
        migrate::schema(&connector).await?;
        Ok(Self { connector })
    }

    /// Opens a schema for reading only, on the primary or on a standby. Nothing is made, migrated or written, and whatever would
    /// write is refused.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`] when none of the framework's tables are there, [`StoreError::Incompatible`] when they are another
    /// version's; and when the server cannot be reached or does not let the user in.
    pub async fn open_read_only(options: PostgresOptions) -> Result<Self, StoreError> {
        let store = Self { connector: Arc::new(Connector::new(PostgresOptions { read_only: true, ..options })) };
        migrate::complete_ours(&store).await?;
        Ok(store)
    }

    /// Opens a schema that is there, for reading and writing beside the programs that run on it. Nothing is made or migrated.
    ///
    /// # Errors
    /// As [`open_read_only`](Self::open_read_only).
    pub async fn open_existing(options: PostgresOptions) -> Result<Self, StoreError> {
        let store = Self { connector: Arc::new(Connector::new(options)) };
        migrate::complete_ours(&store).await?;
        Ok(store)
    }

    /// The schemas of the database that have the framework's tables, whatever schema `options` name.
    ///
    /// # Errors
    /// When the server cannot be reached or does not let the user in.
    pub async fn schemas(options: PostgresOptions) -> Result<Vec<String>, StoreError> {
        let store = Self { connector: Arc::new(Connector::new(PostgresOptions { read_only: true, ..options })) };
        let schemas = ask!(store, reading, connection => migrate::schemas(connection));
        store.close().await;
        schemas
    }

    /// Runs `statement` in a transaction of its own.
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

    async fn own(&self, service: &str, partitions: &[TopicPartition]) -> Result<Vec<Ownership>, StoreError> {
        self.write(async |connection| partitions::own(connection, service, partitions).await).await
    }

    async fn advance(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError> {
        self.write(async |connection| partitions::apply(connection, service, applied, Merge::Forwards).await).await
    }

    async fn rewind(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError> {
        self.write(async |connection| partitions::apply(connection, service, applied, Merge::Replace).await).await
    }

    async fn note_partitions(&self, service: &str, topics: &[(String, i32)]) -> Result<Vec<bool>, StoreError> {
        self.write(async |connection| topics::note(connection, service, topics).await).await
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        ask!(self, reading, connection => clock::now(connection)).map(Some)
    }

    async fn clock(&self, service: &str) -> Result<Option<KeptClock>, StoreError> {
        ask!(self, reading, connection => clock::read(connection, service))
    }

    async fn keep_clock(&self, service: &str, clock: &KeptClock) -> Result<(), StoreError> {
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

    fn place(&self) -> String {
        self.connector.name.clone()
    }

    async fn close(&self) {
        self.connector.close().await;
    }
}
