//! The port to a service's database, and its implementations: [`memory`], `sqlite` and `postgres`.
//!
//! A store begins transactions in which the runtime claims messages, the handler writes its rows, and events enter the
//! outbox, so that all of it commits together. Whoever implements the two traits here runs
//! `testing::conformance::store` on the result.
//!
//! This is a delivery, as the store sees it. The message is claimed and what follows from it is written, at once or not at all:
//!
//! ```
//! # use saga_core::{id::MessageId, message::Record, time::Timestamp};
//! use saga_core::store::{Database, InboxKey, Store, StoreTx};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let now = Timestamp::from_millis(0);
//! # let paid = Record { topic: "payments".into(), key: None, value: None, headers: vec![], timestamp: now.into() };
//! let database = Database::open("memory:").await?;
//! let store = database.store();
//! store.migrate().await?;
//! let message = [InboxKey { source: "order".into(), id: MessageId::new("m-1") }];
//!
//! let mut tx = store.begin().await?;
//! assert_eq!(tx.claim("payment", &message, now).await?, [true]);
//! drop(tx); // A crash: nothing has happened.
//!
//! let mut tx = store.begin().await?;
//! assert_eq!(tx.claim("payment", &message, now).await?, [true]);
//! tx.append_outbox("payment", &[paid]).await?;
//! tx.commit().await?;
//! assert_eq!(store.outbox("payment", 0, 10).await?.len(), 1);
//!
//! // It comes once more, and is known.
//! assert_eq!(store.begin().await?.claim("payment", &message, now).await?, [false]);
//! # Ok(()) }
//! ```

mod after_commit;
mod database;
#[cfg(feature = "sql")]
mod headers;
mod letters;
mod migrations;
mod replays;
mod rows;
mod sagas;
mod settling;
mod sharing;
#[cfg(feature = "sql")]
mod sql;
#[cfg(feature = "sql")]
mod sql_ending;
#[cfg(feature = "sql")]
mod sql_errors;
mod tx;

pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bytes::Bytes;

pub use after_commit::{AfterCommit, Hook};
pub use database::{Database, DatabaseOptions};
pub use letters::{DeadLetterFilter, LetterHead, LetterSummary, PrunedLetters};
pub use replays::{Replay, ReplayId, ReplayState, ReplayStep, ReplayStore};
pub use rows::{
    DeadLetter, DeadLetterId, DeadLetterState, HELD, InboxKey, KeptClock, Migration, OutboxId, OutboxRow, Ownership, ParkedId,
    ParkedKey, ParkedMessage, parking_key,
};
pub use sagas::{
    HistoryEntry, InstanceKey, InstanceOrder, InstanceQuery, InstanceRecord, InstanceState, OpenVersion, SagaStore, StepRecord,
    StepState, StoredDefinition,
};
pub use settling::{Bulk, Settle, Settled, settle};
pub use sharing::{Backlog, Lease, News, Share, Sharing};
#[cfg(feature = "sql")]
pub use sql::{SqlConnection, SqlReader};
pub use tx::{Returned, Tx, TxSlot};

use crate::{
    message::{Received, Shard, Shards, TopicPartition},
    time::Timestamp,
};

/// What can go wrong between us and the database.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be reached, is busy beyond the patience, or full. The same call may work later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The database gave one statement up: it took too long, waited too long for a row, or needed too much memory. Whether that is the
    /// statement's fault or the database's shows by how the database is otherwise.
    #[error("the database gave a statement up: {0}")]
    Statement(String),
    /// Another transaction was first, and the database let only that one go on. The same call works when it is made again.
    #[error("the database let another transaction go first: {0}")]
    Contended(String),
    /// The database answered something that no retry will change.
    #[error("the database refused: {0}")]
    Refused(String),
    /// What is in the database is not what this program can work with.
    #[error("the database does not fit this program: {0}")]
    Incompatible(String),
    /// None of the framework's tables are in the database.
    #[error("the database was never migrated: {0}")]
    NotMigrated(String),
}

/// Something about a database that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The condition that it is: lower case words joined by `_`.
    pub condition: &'static str,
    /// What it is about: a setting, a pool, a file.
    pub subject: String,
    /// Whether the service cannot do its work because of it.
    pub critical: bool,
    /// What is wrong, where, and the fix, in a sentence without secrets.
    pub detail: String,
}

impl StoreError {
    /// The same, and where it happened.
    #[cfg(feature = "sql")]
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Self::Unavailable(reason) => Self::Unavailable(format!("{place}: {reason}")),
            Self::Statement(reason) => Self::Statement(format!("{place}: {reason}")),
            Self::Contended(reason) => Self::Contended(format!("{place}: {reason}")),
            Self::Refused(reason) => Self::Refused(format!("{place}: {reason}")),
            Self::Incompatible(reason) => Self::Incompatible(format!("{place}: {reason}")),
            Self::NotMigrated(reason) => Self::NotMigrated(format!("{place}: {reason}")),
        }
    }
}

/// Whether `error`, or what caused it, says that the database cannot be used now: that is no fault of the message that is being
/// handled, and costs it no attempt.
pub fn is_unavailable(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(of_the_database(error), Some(StoreError::Unavailable(_) | StoreError::Contended(_)))
}

/// What `error`, or what caused it, says if it is that another transaction was first.
pub(crate) fn contention(error: &(dyn std::error::Error + 'static)) -> Option<StoreError> {
    of_the_database(error).filter(|error| matches!(error, StoreError::Contended(_)))
}

/// The first of `error` and what caused it that comes from the database.
fn of_the_database(error: &(dyn std::error::Error + 'static)) -> Option<StoreError> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| {
        #[cfg(feature = "sql")]
        if let Some(error) = error.downcast_ref::<sqlx::Error>() {
            return Some(sql_errors::store_error("the service's database", error));
        }
        error.downcast_ref::<StoreError>().cloned()
    })
}

/// What [`StoreTx::undo`] answers without a savepoint.
pub(crate) fn no_savepoint() -> StoreError {
    StoreError::Refused("there is no savepoint to return to; call `savepoint` before `undo`".into())
}

/// A service's database.
///
/// `service` names whose rows are meant: several services can share one database.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Creates or updates the framework's own tables. Safe to run twice, also at the same time.
    ///
    /// # Errors
    /// When the database cannot be reached, or was written by a newer program.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Runs those of `migrations` that have not run yet under the name `set`, in order, each once.
    ///
    /// # Errors
    /// When one fails, or one that has run was changed since.
    async fn migrate_set(&self, set: &str, migrations: &[Migration]) -> Result<(), StoreError>;

    /// Begins a transaction that may write.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database gives none within the store's patience.
    async fn begin(&self) -> Result<Box<dyn StoreTx>, StoreError>;

    /// Which of `keys` have been claimed, in the order given.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn seen(&self, service: &str, keys: &[InboxKey]) -> Result<Vec<bool>, StoreError>;

    /// At most `limit` outbox rows with an id above `after`, by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn outbox(&self, service: &str, after: OutboxId, limit: usize) -> Result<Vec<OutboxRow>, StoreError>;

    /// Outbox rows of `shards` that are not among `known`, by id: of each shard at most `limit`, those with the smallest ids. All
    /// that was committed when the call began is seen.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn outbox_of(
        &self,
        service: &str,
        shards: Shards,
        known: &[OutboxId],
        limit: usize,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        // For a database of one process, which looks when it starts.
        const PAGE: usize = 1_000;
        let known: HashSet<OutboxId> = known.iter().copied().collect();
        let (mut room, mut found, mut after) = ([limit; Shard::COUNT], Vec::new(), 0);
        loop {
            let page = self.outbox(service, after, PAGE).await?;
            let more = page.len() == PAGE;
            after = page.last().map_or(after, |row| row.id);
            for row in page {
                let shard = row.record.shard();
                let room = &mut room[usize::from(shard.number())];
                if *room > 0 && shards.contains(shard) && !known.contains(&row.id) {
                    *room -= 1;
                    found.push(row);
                }
            }
            if !more || shards.iter().all(|shard| room[usize::from(shard.number())] == 0) {
                return Ok(found);
            }
        }
    }

    /// How the instances of a service divide its outbox, if this database can be used by several processes. `None`: it is one
    /// process's alone.
    fn sharing(&self) -> Option<&dyn Sharing> {
        None
    }

    /// Every parked key of the service: how many messages wait, and when its first one is due.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn parked_keys(&self, service: &str) -> Result<Vec<ParkedKey>, StoreError>;

    /// The first `limit` parked messages of a key, in the order they came.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn parked(&self, service: &str, topic: &str, key: &[u8], limit: usize) -> Result<Vec<ParkedMessage>, StoreError>;

    /// What is kept of sagas, for reading outside a transaction.
    fn sagas(&self) -> &dyn SagaStore;

    /// What is kept of replays.
    fn replays(&self) -> &dyn ReplayStore;

    /// Dead letters that are still open, whole, newest first, without those before `offset`, at most `limit`; and how many there
    /// are in all.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn dead_letters(&self, service: &str, offset: u64, limit: u32) -> Result<(Vec<DeadLetter>, u64), StoreError> {
        let (found, total) = self.find_dead_letters(service, &DeadLetterFilter::open(), offset, limit).await?;
        let ids: Vec<_> = found.into_iter().map(|letter| letter.head.id).collect();
        if ids.is_empty() {
            return Ok((Vec::new(), total));
        }
        let mut letters = self.dead_letters_by_id(service, &ids).await?;
        let places: HashMap<_, _> = ids.iter().zip(0_usize..).collect();
        letters.sort_by_key(|letter| places.get(&letter.id).copied());
        Ok((letters, total))
    }

    /// The dead letters that `filter` wants, without their values, newest first, without those before `offset`, at most `limit`; and
    /// how many there are in all.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn find_dead_letters(
        &self,
        service: &str,
        filter: &DeadLetterFilter,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<LetterSummary>, u64), StoreError>;

    /// The heads of at most `limit` dead letters that `filter` wants and that come behind `after`, in the order of
    /// [`LetterHead::by_position`].
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn dead_letter_heads(
        &self,
        service: &str,
        filter: &DeadLetterFilter,
        after: Option<&LetterHead>,
        limit: u32,
    ) -> Result<Vec<LetterHead>, StoreError>;

    /// Those of the dead letters `ids` that are there, whatever became of them, in any order.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn dead_letters_by_id(&self, service: &str, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError>;

    /// One dead letter, whatever became of it.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn dead_letter(&self, service: &str, id: &DeadLetterId) -> Result<Option<DeadLetter>, StoreError>;

    /// Forgets at most `limit` inbox rows older than `before`; says how many it forgot.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn prune_inbox(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Removes at most `limit` dead letters that were given up before `open` and are still open, and at most `limit` that were
    /// settled before `settled`; without a time, none. One that holds its key stays.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn prune_dead_letters(
        &self,
        service: &str,
        open: Option<Timestamp>,
        settled: Option<Timestamp>,
        limit: u32,
    ) -> Result<PrunedLetters, StoreError>;

    /// Takes `partitions` over for whoever calls: raises the epoch of each, and says how far it is applied, in the order given.
    ///
    /// # Delivery
    /// From then on [`StoreTx::hold`], [`advance`](Store::advance) and [`rewind`](Store::rewind) refuse the epochs before. A
    /// transaction that holds one of those has ended when this returns.
    ///
    /// # Errors
    /// When the database cannot be written. Whether the epochs were raised is not known then; take the partitions over again.
    async fn own(&self, service: &str, partitions: &[TopicPartition]) -> Result<Vec<Ownership>, StoreError>;

    /// Notes how far partitions are applied, where the epoch still stands, and never backwards; says of each, in the order
    /// given, whether it stood. Where [`applied`](Ownership::applied) or [`log`](Ownership::log) is `None`, that stays as it is.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn advance(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError>;

    /// As [`advance`](Store::advance), but backwards too: for a topic that was made anew, whose offsets begin again.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn rewind(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError>;

    /// Notes how many partitions topics have; says of each, in the order given, whether it has ever been noted with another number:
    /// then messages of a key may be in several of its partitions.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn note_partitions(&self, service: &str, topics: &[(String, i32)]) -> Result<Vec<bool>, StoreError>;

    /// The database's clock now, if processes on several machines share this database. `None`: it has no clock of its own.
    ///
    /// # Errors
    /// When the database cannot be asked.
    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// What was kept of the service's clock.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn clock(&self, service: &str) -> Result<Option<KeptClock>, StoreError>;

    /// Keeps the service's clock, in place of what was kept before.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn keep_clock(&self, service: &str, clock: &KeptClock) -> Result<(), StoreError>;

    /// Whether the database can be read and written.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<(), StoreError>;

    /// What is not as it should be with a database that works: settings of the server, a pool that is full, a file that grows.
    /// Asked for every few seconds; what it answers is a standing condition of the service.
    ///
    /// # Errors
    /// When the database cannot be asked.
    async fn advice(&self) -> Result<Vec<Advice>, StoreError> {
        Ok(Vec::new())
    }

    /// Where the data is, for the log: a file, or a server, database and schema; never a password.
    fn place(&self) -> String;

    /// A connection for reading, for queries outside a transaction. `None`: this store speaks no SQL.
    ///
    /// # Errors
    /// When there is none within the store's patience.
    #[cfg(feature = "sql")]
    async fn reader(&self) -> Result<Option<SqlReader>, StoreError>;

    /// Finishes what is running and closes the connections.
    async fn close(&self);
}

/// An open transaction. Dropped, it is rolled back.
///
/// There is one savepoint at a time: [`savepoint`](StoreTx::savepoint) sets it, and sets it anew when called again.
#[async_trait]
pub trait StoreTx: Send + 'static {
    /// Marks the present state, to which [`undo`](StoreTx::undo) returns.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn savepoint(&mut self) -> Result<(), StoreError>;

    /// Undoes what was written since the savepoint, and keeps the transaction and the savepoint.
    ///
    /// # Errors
    /// When no savepoint was set, or the transaction is broken: then only dropping it is left.
    async fn undo(&mut self) -> Result<(), StoreError>;

    /// Claims messages in the inbox; says of each, in the order given, whether it is new. A key that is given twice is new
    /// once.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn claim(&mut self, service: &str, keys: &[InboxKey], now: Timestamp) -> Result<Vec<bool>, StoreError>;

    /// Forgets those of `keys` that were claimed before `before`: they are new to the next claim.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn forget(&mut self, service: &str, keys: &[InboxKey], before: Timestamp) -> Result<(), StoreError>;

    /// Adds rows to the outbox and gives their ids, which ascend in the order given. Ids of one service ascend in the order of
    /// the transactions that commit, as far as those touch the same key.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn append_outbox(&mut self, service: &str, rows: &[crate::message::Record]) -> Result<Vec<OutboxId>, StoreError>;

    /// Removes outbox rows.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn delete_outbox(&mut self, ids: &[OutboxId]) -> Result<(), StoreError>;

    /// What the service did at the steps of these instances. Until this transaction has ended no other sees or changes their
    /// records by this call, whether there are any or not: a second transaction waits here for the first. To be called before
    /// other statements, and in the order of the keys where it is called more than once.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn load_steps(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<StepRecord>, StoreError>;

    /// Writes records of steps, each in place of the one of its instance and step.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn save_steps(&mut self, service: &str, steps: &[StepRecord]) -> Result<(), StoreError>;

    /// These instances, those that are there, kept from others as by [`load_steps`](StoreTx::load_steps).
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn load_instances(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<InstanceRecord>, StoreError>;

    /// Writes instances, each in place of the one with its key.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn save_instances(&mut self, service: &str, instances: &[InstanceRecord]) -> Result<(), StoreError>;

    /// Adds to the history of instances, in the order given.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn append_history(&mut self, service: &str, entries: &[HistoryEntry]) -> Result<(), StoreError>;

    /// Parks messages behind those of their keys that are parked already, in the order given, and gives their ids.
    /// [`ParkedMessage::id`] is ignored.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn park(&mut self, service: &str, messages: &[ParkedMessage]) -> Result<Vec<ParkedId>, StoreError>;

    /// Writes down a further attempt of a parked message: how many there were, when the next is due, and why it failed.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn repark(&mut self, id: ParkedId, attempts: u32, due: Timestamp, error: &str) -> Result<(), StoreError>;

    /// Removes parked messages; says of each, in the order given, whether it was still there. A message that was not has been
    /// handled by somebody else, and must not be handled again.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn unpark(&mut self, ids: &[ParkedId]) -> Result<Vec<bool>, StoreError>;

    /// How many messages are parked under each of `keys` of a topic, in the order given, whichever partition they are of.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn count_parked(&mut self, service: &str, topic: &str, keys: &[Bytes]) -> Result<Vec<usize>, StoreError>;

    /// Keeps dead letters. One whose identity is there already takes that one's place.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn bury(&mut self, service: &str, letters: &[DeadLetter]) -> Result<(), StoreError>;

    /// Settles dead letters at `now`: moves each to `state`, if it is there and [may become](DeadLetterState::may_become) that; says
    /// of each, in the order given, whether it was moved. Of two transactions that settle the same letter one does.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn settle_dead_letters(
        &mut self,
        service: &str,
        ids: &[DeadLetterId],
        state: DeadLetterState,
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError>;

    /// The same of one dead letter.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn settle_dead_letter(
        &mut self,
        service: &str,
        id: &DeadLetterId,
        state: DeadLetterState,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.settle_dead_letters(service, std::slice::from_ref(id), state, now).await? == [true])
    }

    /// The dead letters, whatever became of them, whose messages came from the log and are [known by](DeadLetter::known_by) each of
    /// `messages`, in the order given.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn dead_letters_of(&mut self, service: &str, messages: &[InboxKey]) -> Result<Vec<Vec<LetterHead>>, StoreError>;

    /// Which of the dead letters `letters` hold their keys, and by which parked message: the one with the letter's own position,
    /// due at the end of time.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn holding(&mut self, service: &str, letters: &[LetterHead]) -> Result<Vec<(DeadLetterId, ParkedId)>, StoreError>;

    /// Makes parked messages due at `due`, with their attempts counted from 0, and as if first seen then.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn release(&mut self, ids: &[ParkedId], due: Timestamp) -> Result<(), StoreError>;

    /// Puts `received`, which has the same topic and parking key, in the place of a parked message: due at `due`, with its attempts
    /// counted from 0, and as if first seen then.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn replace_parked(&mut self, id: ParkedId, received: &Received, due: Timestamp) -> Result<(), StoreError>;

    /// Writes to a dead letter what the log did not take of it, and why, whatever its state; false when it is not there.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn mark_unpublished(&mut self, service: &str, id: &DeadLetterId, why: &str) -> Result<bool, StoreError>;

    /// Says of each partition, in the order given, whether that epoch still stands, and keeps it standing until this transaction
    /// has ended: a concurrent [`Store::own`] waits for it. One that was never taken over does not stand.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn hold(&mut self, service: &str, owned: &[(TopicPartition, i64)]) -> Result<Vec<bool>, StoreError>;

    /// Commits. When it returns `Ok`, what was written survives a crash.
    ///
    /// # Errors
    /// When nothing was committed, or when that is not known. [`StoreError::Refused`] when what was done in the transaction is the
    /// reason: a constraint that is checked at the end, or a `COMMIT` or `ROLLBACK` among its own statements.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;

    /// The connection that carries the transaction. `None`: this store speaks no SQL.
    #[cfg(feature = "sql")]
    fn sql(&mut self) -> Option<SqlConnection<'_>>;
}
