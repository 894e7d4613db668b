//! A transaction with faults.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    NO_IDS, Shared,
    StoreOperation::{Commit, Statement},
    unavailable,
};
#[cfg(feature = "sql")]
use crate::store::SqlConnection;
use crate::{
    message::{Received, Record, TopicPartition},
    store::{
        DeadLetter, DeadLetterId, DeadLetterState, HistoryEntry, InboxKey, InstanceKey, InstanceRecord, LetterHead, OutboxId,
        ParkedId, ParkedMessage, PublishTx, StepRecord, StoreError, StoreTx, Taker,
    },
    time::Timestamp,
};

/// A transaction of the store, or one that it has joined.
pub(super) struct FaultyTx<T: ?Sized> {
    inner: Box<T>,
    shared: Arc<Shared>,
    /// Whether it has written a record that must not be committed.
    refused: bool,
}

impl<T: ?Sized> FaultyTx<T> {
    pub(super) fn new(inner: Box<T>, shared: Arc<Shared>) -> Self {
        Self { inner, shared, refused: false }
    }
}

#[async_trait]
impl<T: PublishTx + ?Sized> PublishTx for FaultyTx<T> {
    async fn append_outbox(&mut self, service: &str, rows: &[Record]) -> Result<Vec<OutboxId>, StoreError> {
        self.refused |= self.shared.refuses(rows);
        self.shared
            .run(
                Statement,
                "append_outbox",
                rows.iter().map(|row| row.key.as_deref().unwrap_or_default()),
                self.inner.append_outbox(service, rows),
            )
            .await
    }

    async fn load_steps(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<StepRecord>, StoreError> {
        self.shared.run(Statement, "load_steps", of.iter().map(|key| &key.id), self.inner.load_steps(service, of)).await
    }

    async fn save_steps(&mut self, service: &str, steps: &[StepRecord]) -> Result<(), StoreError> {
        self.shared
            .run(Statement, "save_steps", steps.iter().map(|step| &step.instance.id), self.inner.save_steps(service, steps))
            .await
    }

    async fn load_instances(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<InstanceRecord>, StoreError> {
        self.shared.run(Statement, "load_instances", of.iter().map(|key| &key.id), self.inner.load_instances(service, of)).await
    }

    async fn save_instances(&mut self, service: &str, instances: &[InstanceRecord]) -> Result<(), StoreError> {
        self.shared
            .run(
                Statement,
                "save_instances",
                instances.iter().map(|instance| &instance.instance.id),
                self.inner.save_instances(service, instances),
            )
            .await
    }

    async fn append_history(&mut self, service: &str, entries: &[HistoryEntry]) -> Result<(), StoreError> {
        self.shared
            .run(
                Statement,
                "append_history",
                entries.iter().map(|entry| &entry.instance.id),
                self.inner.append_history(service, entries),
            )
            .await
    }
}

#[async_trait]
impl StoreTx for FaultyTx<dyn StoreTx> {
    async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.shared.run(Statement, "savepoint", NO_IDS, self.inner.savepoint()).await
    }

    async fn undo(&mut self) -> Result<(), StoreError> {
        self.shared.run(Statement, "undo", NO_IDS, self.inner.undo()).await
    }

    async fn claim(&mut self, service: &str, keys: &[InboxKey], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        self.shared.run(Statement, "claim", keys.iter().map(|key| key.id.as_str()), self.inner.claim(service, keys, now)).await
    }

    async fn forget(&mut self, service: &str, keys: &[InboxKey], before: Timestamp) -> Result<(), StoreError> {
        self.shared
            .run(Statement, "forget", keys.iter().map(|key| key.id.as_str()), self.inner.forget(service, keys, before))
            .await
    }

    async fn takers(&mut self, service: &str) -> Result<Vec<Taker>, StoreError> {
        self.shared.run(Statement, "takers", NO_IDS, self.inner.takers(service)).await
    }

    async fn delete_outbox(&mut self, ids: &[OutboxId]) -> Result<(), StoreError> {
        self.shared.run(Statement, "delete_outbox", NO_IDS, self.inner.delete_outbox(ids)).await
    }

    async fn park(&mut self, service: &str, messages: &[ParkedMessage]) -> Result<Vec<ParkedId>, StoreError> {
        self.shared.run(Statement, "park", messages.iter().map(ParkedMessage::key), self.inner.park(service, messages)).await
    }

    async fn repark(&mut self, id: ParkedId, attempts: u32, due: Timestamp, error: &str) -> Result<(), StoreError> {
        self.shared.run(Statement, "repark", NO_IDS, self.inner.repark(id, attempts, due, error)).await
    }

    async fn unpark(&mut self, ids: &[ParkedId]) -> Result<Vec<bool>, StoreError> {
        self.shared.run(Statement, "unpark", NO_IDS, self.inner.unpark(ids)).await
    }

    async fn count_parked(&mut self, service: &str, topic: &str, keys: &[Bytes]) -> Result<Vec<usize>, StoreError> {
        self.shared.run(Statement, "count_parked", keys, self.inner.count_parked(service, topic, keys)).await
    }

    async fn insert_dead_letters(&mut self, service: &str, letters: &[DeadLetter]) -> Result<(), StoreError> {
        self.shared
            .run(
                Statement,
                "insert_dead_letters",
                letters.iter().map(|letter| letter.received.record.key.as_deref().unwrap_or_default()),
                self.inner.insert_dead_letters(service, letters),
            )
            .await
    }

    async fn settle_dead_letters(
        &mut self,
        service: &str,
        ids: &[DeadLetterId],
        state: DeadLetterState,
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        self.shared
            .run(
                Statement,
                "settle_dead_letters",
                ids.iter().map(|id| id.as_str()),
                self.inner.settle_dead_letters(service, ids, state, now),
            )
            .await
    }

    async fn dead_letters_of(&mut self, service: &str, messages: &[InboxKey]) -> Result<Vec<Vec<LetterHead>>, StoreError> {
        self.shared
            .run(
                Statement,
                "dead_letters_of",
                messages.iter().map(|key| key.id.as_str()),
                self.inner.dead_letters_of(service, messages),
            )
            .await
    }

    async fn holding(&mut self, service: &str, letters: &[LetterHead]) -> Result<Vec<(DeadLetterId, ParkedId)>, StoreError> {
        self.shared.run(Statement, "holding", NO_IDS, self.inner.holding(service, letters)).await
    }

    async fn release(&mut self, ids: &[ParkedId], due: Timestamp) -> Result<(), StoreError> {
        self.shared.run(Statement, "release", NO_IDS, self.inner.release(ids, due)).await
    }

    async fn replace_parked(&mut self, id: ParkedId, received: &Received, due: Timestamp) -> Result<(), StoreError> {
        self.shared.run(Statement, "replace_parked", NO_IDS, self.inner.replace_parked(id, received, due)).await
    }

    async fn mark_unpublished(&mut self, service: &str, id: &DeadLetterId, why: &str) -> Result<bool, StoreError> {
        self.shared.run(Statement, "mark_unpublished", NO_IDS, self.inner.mark_unpublished(service, id, why)).await
    }

    async fn check_ownership(&mut self, service: &str, owned: &[(TopicPartition, i64)]) -> Result<Vec<bool>, StoreError> {
        self.shared.run(Statement, "check_ownership", NO_IDS, self.inner.check_ownership(service, owned)).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let Self { inner, shared, refused } = *self;
        if refused {
            return Err(unavailable("commit"));
        }
        shared.run(Commit, "commit", NO_IDS, inner.commit()).await
    }

    #[cfg(feature = "sql")]
    fn sql(&mut self) -> Option<SqlConnection<'_>> {
        self.inner.sql()
    }
}
