//! The port to a service's database, and its implementations: [`memory`], `sqlite` and `postgres`.
//!
//! A store begins transactions. In one transaction, the runtime claims messages, the handler writes its rows, and events are written to the
//! outbox; all of it commits together.
//!
//! An implementation of [`Store`] and [`StoreTx`] must pass the conformance suite, `testing::conformance::store`.
//!
//! A delivery, as the store sees it. The claim of the message and the writes that follow from it commit together or not at all:
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
//! drop(tx); // A crash: the claim is rolled back.
//!
//! let mut tx = store.begin().await?;
//! assert_eq!(tx.claim("payment", &message, now).await?, [true]);
//! tx.append_outbox("payment", &[paid]).await?;
//! tx.commit().await?;
//! assert_eq!(store.outbox("payment", 0, 10).await?.len(), 1);
//!
//! // The log delivers it again: it is a duplicate.
//! assert_eq!(store.begin().await?.claim("payment", &message, now).await?, [false]);
//! # Ok(()) }
//! ```

mod advice;
mod after_commit;
mod cause;
mod database;
mod error;
mod handled;
#[cfg(feature = "sql")]
mod headers;
mod letters;
mod migrations;
mod publishing;
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
#[cfg(feature = "sql")]
mod sql_services;
#[cfg(feature = "sql")]
mod sql_transaction;
mod takers;
mod tx;

pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bytes::Bytes;

pub use advice::Advice;
pub use after_commit::{AfterCommit, Hook};
pub(crate) use cause::contention;
pub use cause::{can_succeed_later, is_unavailable};
pub use database::{Database, DatabaseOptions};
pub use error::StoreError;
pub(crate) use error::no_savepoint;
pub use handled::HandledStore;
pub use letters::{DeadLetterFilter, LetterHead, LetterSummary, PrunedLetters, holding_letters};
#[cfg(feature = "sql")]
pub use migrations::Migrate;
pub use publishing::PublishTx;
pub use replays::{Replay, ReplayId, ReplayState, ReplayStep, ReplayStore};
pub use rows::{
    DeadLetter, DeadLetterId, DeadLetterState, HELD, InboxKey, KeptClock, Migration, OutboxId, OutboxRow, Ownership, ParkedId,
    ParkedKey, ParkedMessage, parking_key,
};
pub use sagas::{
    HistoryEntry, InstanceKey, InstanceOrder, InstanceQuery, InstanceRecord, InstanceState, LeftBehind, OpenVersion, SagaStore,
    StepRecord, StepState, StoredDefinition,
};
pub use settling::{Bulk, Settle, Settled, settle};
pub use sharing::{Backlog, Lease, PeerNotification, Share, Sharing};
#[cfg(feature = "sql")]
pub use sql::{IntoSqlConnection, SqlConnection, SqlReader};
pub(crate) use takers::takers_known_by_more;
pub use takers::{Assignment, Taken, Taker};
pub use tx::{Returned, Tx, TxSlot};

use crate::{
    message::{Received, Shard, Shards, TopicPartition},
    time::Timestamp,
};

/// A service's database.
///
/// Several services can share one database. The parameter `service` selects the rows of one of them.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Creates or updates the framework's own tables. It is safe to call this twice, also concurrently.
    ///
    /// # Errors
    /// When the database cannot be reached, or when a newer program has written it.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Runs the migrations of the set `set` that have not run yet, in order, each of them once.
    ///
    /// # Errors
    /// When a migration fails, or when one that has run was changed since.
    async fn migrate_set(&self, set: &str, migrations: &[Migration]) -> Result<(), StoreError>;

    /// Begins a transaction that can write.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no transaction can begin within the time that the store waits.
    async fn begin(&self) -> Result<Box<dyn StoreTx>, StoreError>;

    /// Returns for each of `keys`, in the order given, whether it is claimed.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn seen(&self, service: &str, keys: &[InboxKey]) -> Result<Vec<bool>, StoreError>;

    /// Returns at most `limit` outbox rows with an id above `after`, ordered by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn outbox(&self, service: &str, after: OutboxId, limit: usize) -> Result<Vec<OutboxRow>, StoreError>;

    /// Returns outbox rows of `shards` that are not in `known`, ordered by id: for each shard at most `limit` rows, those with the smallest
    /// ids. The result contains every row that was committed when the call began.
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
        // This default is for a database that only one process uses; it scans the outbox only when it starts.
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

    /// Returns how the processes of a service share its outbox. `None`: only one process can use this database.
    fn sharing(&self) -> Option<&dyn Sharing> {
        None
    }

    /// Returns every parked key of the service, with the number of its messages and the time at which the first is due.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn parked_keys(&self, service: &str) -> Result<Vec<ParkedKey>, StoreError>;

    /// Returns the first `limit` parked messages of a key, in the order in which they were parked.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn parked(&self, service: &str, topic: &str, key: &[u8], limit: usize) -> Result<Vec<ParkedMessage>, StoreError>;

    /// Returns the store of sagas, for reads outside a transaction.
    fn sagas(&self) -> &dyn SagaStore;

    /// Returns the store of replays.
    fn replays(&self) -> &dyn ReplayStore;

    /// Returns the store of the events that services handle, or have handled.
    fn handled(&self) -> &dyn HandledStore;

    /// Returns open dead letters with their values, newest first, at most `limit` after the first `offset`, and the total number of open
    /// dead letters.
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

    /// Returns the dead letters that match `filter`, without their values, newest first, at most `limit` after the first `offset`, and the
    /// total number of matches.
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

    /// Returns the heads of at most `limit` dead letters that match `filter` and come after `after`, in the order of
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

    /// Returns the dead letters with these ids that exist, in any state and in any order.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn dead_letters_by_id(&self, service: &str, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError>;

    /// Returns one dead letter, in any state.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn dead_letter(&self, service: &str, id: &DeadLetterId) -> Result<Option<DeadLetter>, StoreError>;

    /// Returns those of the open dead letters `letters` that hold their keys.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn holding_letters(&self, service: &str, letters: &[LetterHead]) -> Result<HashSet<DeadLetterId>, StoreError>;

    /// Removes at most `limit` inbox rows older than `before`, and returns how many it removed.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn prune_inbox(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Removes at most `limit` open dead letters that were given up before `open`, and at most `limit` dead letters that were settled
    /// before `settled`. `None` removes none of that kind. A dead letter that holds its key is not removed.
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

    /// Makes the caller the owner of `partitions`: raises the epoch of each, and returns the applied offset of each, in the order given.
    ///
    /// # Delivery
    /// Afterwards, [`StoreTx::check_ownership`], [`advance`](Store::advance) and [`rewind`](Store::rewind) refuse the previous epochs.
    /// Transactions that have checked one of the previous epochs have ended when this returns.
    ///
    /// # Errors
    /// When the database cannot be written. It is then unknown whether the epochs were raised; acquire the partitions again.
    async fn acquire_partitions(&self, service: &str, partitions: &[TopicPartition]) -> Result<Vec<Ownership>, StoreError>;

    /// Stores the applied offsets of partitions whose epoch is still valid. An offset never decreases. Returns for each partition, in the
    /// order given, whether its epoch was valid. Where [`applied`](Ownership::applied) or [`log`](Ownership::log) is `None`, the stored
    /// value is kept.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn advance(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError>;

    /// As [`advance`](Store::advance), but an offset can decrease: for a recreated topic, whose offsets begin again.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn rewind(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError>;

    /// Records the number of partitions of topics. Returns for each topic, in the order given, whether another number was ever recorded. If
    /// so, messages of one key can be in several of its partitions.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn record_partitions(&self, service: &str, topics: &[(String, i32)]) -> Result<Vec<bool>, StoreError>;

    /// Returns the current time of the database's clock, if processes on several machines share this database. `None`: the database has no
    /// clock of its own.
    ///
    /// # Errors
    /// When the database cannot be queried.
    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// Returns the stored state of the service's clock.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn clock(&self, service: &str) -> Result<Option<KeptClock>, StoreError>;

    /// Stores the state of the service's clock, and replaces the previous one.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn save_clock(&self, service: &str, clock: &KeptClock) -> Result<(), StoreError>;

    /// Checks that the database can be read and written.
    ///
    /// # Errors
    /// When it cannot, with the reason.
    async fn check(&self) -> Result<(), StoreError>;

    /// Returns problems of a database that works: settings of the server, a pool that is full, a file that grows. The runtime calls this
    /// every few seconds and reports each result as a condition of the service.
    ///
    /// # Errors
    /// When the database cannot be queried.
    async fn advice(&self) -> Result<Vec<Advice>, StoreError> {
        Ok(Vec::new())
    }

    /// Returns where the data is, for log lines: a file, or a server, database and schema. Never contains a password.
    fn place(&self) -> String;

    /// Returns the version of the database software, for log lines; `None` if it does not report one.
    async fn version(&self) -> Option<String> {
        None
    }

    /// Returns a connection for reading, for queries outside a transaction. `None`: this store does not support SQL.
    ///
    /// # Errors
    /// When no connection becomes free within the time that the store waits.
    #[cfg(feature = "sql")]
    async fn reader(&self) -> Result<Option<SqlReader>, StoreError> {
        Ok(None)
    }

    /// Joins a transaction that other code has begun on its own connection and will end, so that events can be published in it. If the
    /// store has a [`sharing`](Store::sharing), a commit that adds outbox rows notifies the owners of their shards.
    ///
    /// # Errors
    /// When this store does not support SQL, when the connection is to another kind of database, when no transaction is open on it, or when
    /// the transaction is one of this store's own.
    #[cfg(feature = "sql")]
    async fn join<'c>(&self, _connection: SqlConnection<'c>) -> Result<Box<dyn PublishTx + 'c>, StoreError> {
        Err(StoreError::Refused("this store cannot write in a transaction that others have begun".into()))
    }

    /// Waits for running work and closes the connections.
    async fn close(&self);
}

/// An open transaction. It is rolled back if it is dropped.
///
/// There is one savepoint at a time: a second call of [`savepoint`](StoreTx::savepoint) moves it.
#[async_trait]
pub trait StoreTx: PublishTx + 'static {
    /// Sets the savepoint, to which [`undo`](StoreTx::undo) returns.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn savepoint(&mut self) -> Result<(), StoreError>;

    /// Undoes all writes since the savepoint. The transaction and the savepoint remain.
    ///
    /// # Errors
    /// When no savepoint was set, or when the transaction is broken; it can then only be dropped.
    async fn undo(&mut self) -> Result<(), StoreError>;

    /// Claims messages in the inbox. Returns for each, in the order given, whether it is new. If a key is given twice, only its first
    /// occurrence is new.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn claim(&mut self, service: &str, keys: &[InboxKey], now: Timestamp) -> Result<Vec<bool>, StoreError>;

    /// Removes the claims of `keys` that are older than `before`, so that the next claim of these keys finds them new.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn forget(&mut self, service: &str, keys: &[InboxKey], before: Timestamp) -> Result<(), StoreError>;

    /// Returns the handlers that take the service's events, or did, in order: the [assignment](HandledStore::assign) as it is stored.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn takers(&mut self, service: &str) -> Result<Vec<Taker>, StoreError>;

    /// Removes outbox rows.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn delete_outbox(&mut self, ids: &[OutboxId]) -> Result<(), StoreError>;

    /// Parks messages behind the messages of their keys that are already parked, in the order given. Returns their ids.
    /// [`ParkedMessage::id`] is ignored.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn park(&mut self, service: &str, messages: &[ParkedMessage]) -> Result<Vec<ParkedId>, StoreError>;

    /// Records a failed attempt of a parked message: the number of attempts, the time of the next, and the error.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn repark(&mut self, id: ParkedId, attempts: u32, due: Timestamp, error: &str) -> Result<(), StoreError>;

    /// Removes parked messages. Returns for each, in the order given, whether it existed. Another process has handled a message that no
    /// longer exists, so the caller must not handle it again.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn unpark(&mut self, ids: &[ParkedId]) -> Result<Vec<bool>, StoreError>;

    /// Returns the number of parked messages for each of `keys` of a topic, in the order given, over all partitions.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn count_parked(&mut self, service: &str, topic: &str, keys: &[Bytes]) -> Result<Vec<usize>, StoreError>;

    /// Inserts dead letters. A dead letter replaces an existing one with the same id.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn insert_dead_letters(&mut self, service: &str, letters: &[DeadLetter]) -> Result<(), StoreError>;

    /// Settles dead letters at `now`: changes the state of each to `state`, if it exists and the change is
    /// [allowed](DeadLetterState::may_become). Returns for each, in the order given, whether it was changed. Of two transactions that
    /// settle the same dead letter, only one changes it.
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

    /// Settles one dead letter, as [`settle_dead_letters`](StoreTx::settle_dead_letters) does.
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

    /// Returns for each of `messages`, in the order given, the dead letters that have this [inbox key](DeadLetter::known_by) and whose
    /// messages came from the log, in any state.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn dead_letters_of(&mut self, service: &str, messages: &[InboxKey]) -> Result<Vec<Vec<LetterHead>>, StoreError>;

    /// Returns which of `letters` hold their keys, each with the parked message that does: the one with the position of the dead letter
    /// that is due at [`HELD`].
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn holding(&mut self, service: &str, letters: &[LetterHead]) -> Result<Vec<(DeadLetterId, ParkedId)>, StoreError>;

    /// Makes parked messages due at `due`. Their attempts are counted from 0, and `due` becomes the time at which they were first seen.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn release(&mut self, ids: &[ParkedId], due: Timestamp) -> Result<(), StoreError>;

    /// Replaces the message of a parked row with `received`, which has the same topic and parking key. It is due at `due`, its attempts are
    /// counted from 0, and `due` becomes the time at which it was first seen.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn replace_parked(&mut self, id: ParkedId, received: &Received, due: Timestamp) -> Result<(), StoreError>;

    /// Records in a dead letter, in any state, what the log refused to store of it, and why. Returns false if the dead letter does not
    /// exist.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn mark_unpublished(&mut self, service: &str, id: &DeadLetterId, why: &str) -> Result<bool, StoreError>;

    /// Returns for each partition, in the order given, whether this epoch is still valid. A valid epoch remains valid until this
    /// transaction ends: a concurrent [`Store::acquire_partitions`] waits for it. The epoch of a partition that was never acquired is not
    /// valid.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn check_ownership(&mut self, service: &str, owned: &[(TopicPartition, i64)]) -> Result<Vec<bool>, StoreError>;

    /// Commits. After `Ok`, the writes survive a crash.
    ///
    /// # Errors
    /// When nothing was committed, or when the result is unknown. [`StoreError::Refused`] when the statements of the transaction are the
    /// cause: a constraint that is checked at the commit, or a `COMMIT` or `ROLLBACK` among them.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;

    /// Returns the connection of the transaction. `None`: this store does not support SQL.
    #[cfg(feature = "sql")]
    fn sql(&mut self) -> Option<SqlConnection<'_>> {
        None
    }
}
