//! A store in a SQLite file: one writer with group commit, and connections for reading in parallel.
//!
//! The store uses WAL with `synchronous=FULL`, so committed data survives a power failure. Every transaction begins as a writer, so none
//! fails later because another transaction wrote first. The names of the framework's tables begin with `sagas_`, and their rows contain the
//! service, so several services and their own tables can share one file. Several processes can share it too.

mod connect;
mod errors;
mod handled;
mod joined;
mod migrate;
mod options;
mod place;
mod reading;
mod replays;
mod sagas;
mod statements;
mod unit;
mod writer;

#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};

pub use options::SqliteOptions;

pub(super) use errors::database_error;

use self::{
    connect::{Connector, Guard},
    statements::{
        Failed, clock, dead_letters, execute, inbox, letter_queries, outbox, parked,
        partitions::{self, Merge},
        topics,
    },
    unit::Unit,
    writer::{Lease, Writer},
};
use super::{
    Advice, DeadLetter, DeadLetterFilter, DeadLetterId, HandledStore, InboxKey, KeptClock, LetterHead, LetterSummary, Migration,
    OutboxId, OutboxRow, Ownership, ParkedKey, ParkedMessage, PrunedLetters, PublishTx, ReplayStore, SagaStore, SqlConnection,
    SqlReader, Store, StoreError, StoreTx,
};
use crate::{message::TopicPartition, time::Timestamp};

/// How long [`Store::check`] can take. It is less than the timeout of a health request, so that the response contains the reason.
const CHECK_PATIENCE: Duration = Duration::from_millis(1_400);
/// How long the check waits for a connection for reading, and for its turn to write.
const CHECK_READER: Duration = Duration::from_millis(500);
const CHECK_WRITER: Duration = Duration::from_millis(800);

/// The size of the write-ahead log, as a multiple of its limit, at which [`Store::advice`] reports it.
const LARGE_LOG: u64 = 4;

/// A store in a SQLite file.
///
/// ```
/// # use saga_core::store::{Store, StoreTx, sqlite::{SqliteOptions, SqliteStore}};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = SqliteStore::open(SqliteOptions::private()).await?;
/// store.migrate().await?;
/// store.begin().await?.commit().await?;
/// store.close().await;
/// # Ok::<(), saga_core::store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct SqliteStore {
    /// `None` for a file that is only read.
    writer: Option<Writer>,
    readers: SqlitePool,
    connector: Arc<Connector>,
    #[cfg(test)]
    guard: Arc<Guard>,
}

impl SqliteStore {
    /// Opens the database, and creates it if it does not exist. [`Store::migrate`] creates its tables. The store works as long as the Tokio
    /// runtime in which it was opened.
    ///
    /// # Errors
    /// When the file cannot be opened or written, or when it is not a SQLite database.
    pub async fn open(options: SqliteOptions) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::new(options).await?);
        let guard = Arc::new(Guard::default());
        let connection = connector.writer(&guard).await?;
        let lease = Lease { connection, guard: Arc::clone(&guard), connector: Arc::clone(&connector) };
        let writer = Writer::start(Arc::clone(&connector), lease);
        Ok(Self {
            writer: Some(writer),
            readers: connector.readers(),
            connector,
            #[cfg(test)]
            guard,
        })
    }

    /// Opens the database of a program, running or not, for reading only. Writes are refused. Nothing in the file changes, and no file is
    /// created next to it, unless a program was killed: then SQLite recovers what that program has left behind.
    ///
    /// If a program opens the file in the meantime, a read can return [`StoreError::Contended`]; open the database again.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`] when the database has none of the framework's tables. [`StoreError::Incompatible`] when the tables are
    /// those of another version, or when the file is not a SQLite database. Also when the file does not exist or cannot be read.
    pub async fn open_read_only(options: SqliteOptions) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::read_only(options).await?);
        let store = Self {
            writer: None,
            readers: connector.readers(),
            connector,
            #[cfg(test)]
            guard: Arc::default(),
        };
        migrate::complete_ours(&store).await?;
        Ok(store)
    }

    /// Opens an existing database for reading and writing, while its program runs or after it has stopped. Nothing is created or migrated.
    /// A file that does not contain the framework's tables is not changed.
    ///
    /// # Errors
    /// As [`open_read_only`](Self::open_read_only), and when the file cannot be written.
    pub async fn open_existing(options: SqliteOptions) -> Result<Self, StoreError> {
        Self::open_read_only(options.clone()).await?.close().await;
        Self::open(options).await
    }

    /// Returns SQL that creates the framework's tables and records which migrations have run, for another migration tool, which must run it
    /// in one transaction. The script contains the migrations after the version `after`; 0 for all.
    pub fn migrations_script(after: u32) -> String {
        migrate::script(after)
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        let refused = || StoreError::Refused(format!("{}: it was opened for reading only", self.connector.name));
        self.writer.as_ref().ok_or_else(refused)
    }

    async fn unit(&self) -> Result<Unit, StoreError> {
        self.writer()?.begin(self.connector.patience()).await
    }

    async fn acquire(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => self.readers_busy(),
            error => self.connector.error(&error),
        })
    }

    fn readers_busy(&self) -> StoreError {
        StoreError::Unavailable(format!(
            "{}: all {} connections for reading are in use; see that none is held across a wait, or raise `SqliteOptions::readers`",
            self.connector.name,
            self.readers.options().get_max_connections()
        ))
    }

    async fn read<T>(&self, statement: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Failed>) -> Result<T, StoreError> {
        let mut connection = self.acquire().await?;
        let read = statement(&mut connection).await.map_err(|failed| failed.at(&self.connector.name));
        self.connector.undisturbed().await?;
        read
    }

    /// Runs `statement` in its own transaction.
    async fn write<T>(&self, statement: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Failed>) -> Result<T, StoreError> {
        let mut unit = self.unit().await?;
        let value = unit.run(statement).await?;
        Box::new(unit).commit().await?;
        Ok(value)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        migrate::ours(self).await
    }

    async fn migrate_set(&self, set: &str, migrations: &[Migration]) -> Result<(), StoreError> {
        migrate::theirs(self, set, migrations).await
    }

    async fn begin(&self) -> Result<Box<dyn StoreTx>, StoreError> {
        Ok(Box::new(self.unit().await?))
    }

    async fn seen(&self, service: &str, keys: &[InboxKey]) -> Result<Vec<bool>, StoreError> {
        let keys: Vec<&InboxKey> = keys.iter().collect();
        self.read(async |connection| inbox::seen(connection, service, &keys).await).await
    }

    async fn outbox(&self, service: &str, after: OutboxId, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.read(async |connection| outbox::after(connection, service, after, limit).await).await
    }

    async fn parked_keys(&self, service: &str) -> Result<Vec<ParkedKey>, StoreError> {
        self.read(async |connection| parked::keys(connection, service).await).await
    }

    async fn parked(&self, service: &str, topic: &str, key: &[u8], limit: usize) -> Result<Vec<ParkedMessage>, StoreError> {
        self.read(async |connection| parked::of_key(connection, service, topic, key, limit).await).await
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
        self.read(async |connection| letter_queries::page(connection, service, filter, offset, limit).await).await
    }

    async fn dead_letter_heads(
        &self,
        service: &str,
        filter: &DeadLetterFilter,
        after: Option<&LetterHead>,
        limit: u32,
    ) -> Result<Vec<LetterHead>, StoreError> {
        self.read(async |connection| letter_queries::heads(connection, service, filter, after, limit).await).await
    }

    async fn dead_letters_by_id(&self, service: &str, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError> {
        self.read(async |connection| letter_queries::by_id(connection, service, ids).await).await
    }

    async fn dead_letter(&self, service: &str, id: &DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.read(async |connection| letter_queries::one(connection, service, id).await).await
    }

    async fn holding_letters(&self, service: &str, letters: &[LetterHead]) -> Result<HashSet<DeadLetterId>, StoreError> {
        let holding = self.read(async |connection| dead_letters::holding(connection, service, letters).await).await?;
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

    async fn clock(&self, service: &str) -> Result<Option<KeptClock>, StoreError> {
        self.read(async |connection| clock::read(connection, service).await).await
    }

    async fn save_clock(&self, service: &str, clock: &KeptClock) -> Result<(), StoreError> {
        self.write(async |connection| clock::keep(connection, service, clock).await).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let check = async {
            let reader = tokio::time::timeout(CHECK_READER, self.acquire()).await;
            let mut reader = reader.unwrap_or_else(|_| Err(self.readers_busy()))?;
            let read = execute(&mut reader, "SELECT beats FROM sagas_health").await;
            read.map_err(|failed| failed.at(&self.connector.name))?;
            drop(reader);
            let mut unit = self.writer()?.begin(CHECK_WRITER).await?;
            unit.run(async |connection| execute(connection, "UPDATE sagas_health SET beats = beats + 1").await).await?;
            Box::new(unit).commit().await
        };
        tokio::time::timeout(CHECK_PATIENCE, check).await.map_err(|_| {
            let limit = CHECK_PATIENCE.as_millis();
            StoreError::Unavailable(format!("{}: reading and writing took more than {limit} ms", self.connector.name))
        })?
    }

    async fn advice(&self) -> Result<Vec<Advice>, StoreError> {
        let (bytes, limit) = (self.connector.log_bytes().await, self.connector.log_limit());
        let large = bytes > limit.saturating_mul(LARGE_LOG);
        Ok(large
            .then(|| Advice {
                condition: "write_ahead_log",
                subject: self.connector.name.clone(),
                critical: false,
                detail: format!(
                    "{}: its write-ahead log has {} MiB, and {} are enough; a transaction or a query has been open for long: see which \
                     program reads the file",
                    self.connector.name,
                    bytes >> 20,
                    limit >> 20
                ),
            })
            .into_iter()
            .collect())
    }

    async fn reader(&self) -> Result<Option<SqlReader>, StoreError> {
        Ok(Some(SqlReader::Sqlite(self.acquire().await?)))
    }

    async fn join<'c>(&self, connection: SqlConnection<'c>) -> Result<Box<dyn PublishTx + 'c>, StoreError> {
        self.writer()?;
        Ok(Box::new(self.joined(connection.sqlite()?).await?))
    }

    fn place(&self) -> String {
        format!("SQLite {}", self.connector.name)
    }

    async fn version(&self) -> Option<String> {
        let mut connection = self.acquire().await.ok()?;
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *connection).await.ok()
    }

    async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
        self.readers.close().await;
    }
}
