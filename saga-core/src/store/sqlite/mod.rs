//! A store in a SQLite file: one writer with group commit, readers beside it.
//!
//! WAL with `synchronous=FULL`: what has been committed survives a power failure. Every transaction begins as a writer, so none
//! fails half-way because another came first. The framework's tables are called `sagas_…` and carry the service, so that
//! several services, and their own tables, can share one file; processes can share it too.

mod connect;
mod errors;
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

use std::{sync::Arc, time::Duration};

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
    Advice, DeadLetter, DeadLetterFilter, DeadLetterId, InboxKey, KeptClock, LetterHead, LetterSummary, Migration, OutboxId,
    OutboxRow, Ownership, ParkedKey, ParkedMessage, PrunedLetters, ReplayStore, SagaStore, SqlReader, Store, StoreError, StoreTx,
};
use crate::{message::TopicPartition, time::Timestamp};

/// How long [`Store::check`] may take: less than whoever asks for the health of a service waits, who is to hear why.
const CHECK_PATIENCE: Duration = Duration::from_millis(1_400);
/// How long of that it waits for a connection for reading, and for its turn to write.
const CHECK_READER: Duration = Duration::from_millis(500);
const CHECK_WRITER: Duration = Duration::from_millis(800);

/// So many times its limit the write-ahead log may have before somebody is told.
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
    /// None of a file that is only read.
    writer: Option<Writer>,
    readers: SqlitePool,
    connector: Arc<Connector>,
    #[cfg(test)]
    guard: Arc<Guard>,
}

impl SqliteStore {
    /// Opens the database, and makes it when it is missing. Its tables are made by [`Store::migrate`]. The store works as long
    /// as the runtime that opened it.
    ///
    /// # Errors
    /// When the file cannot be opened or written, or is no SQLite database.
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

    /// Opens a database for reading only: the one of a program that runs, or of one that does not. Nothing in it is changed, and
    /// nothing is made beside it, unless a program was killed: then SQLite reads what that has left behind. Whatever would write
    /// is refused.
    ///
    /// [`StoreError::Contended`] is what reading answers when a program has opened the file meanwhile: open it again.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`] when none of the framework's tables are there, [`StoreError::Incompatible`] when they are another
    /// version's, or the file is no SQLite database; and when there is none, or it cannot be read.
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

    /// Opens a database that is there, for reading and writing beside the program that runs on it, or after that has stopped. Nothing is
    /// made or migrated; a file that is not ours is not touched.
    ///
    /// # Errors
    /// As [`open_read_only`](Self::open_read_only), and when the file cannot be written.
    pub async fn open_existing(options: SqliteOptions) -> Result<Self, StoreError> {
        Self::open_read_only(options.clone()).await?.close().await;
        Self::open(options).await
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

    /// Runs `statement` in a transaction of its own.
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

    async fn clock(&self, service: &str) -> Result<Option<KeptClock>, StoreError> {
        self.read(async |connection| clock::read(connection, service).await).await
    }

    async fn keep_clock(&self, service: &str, clock: &KeptClock) -> Result<(), StoreError> {
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
                    "{}: its write-ahead log has {} MiB, and {} are enough; somebody has kept a transaction or a query open for long: \
                     see which program reads the file",
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

    fn place(&self) -> String {
        format!("SQLite {}", self.connector.name)
    }

    async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
        self.readers.close().await;
    }
}
