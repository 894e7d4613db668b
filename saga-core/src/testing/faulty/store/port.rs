//! The store itself.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;

use super::{
    FaultyStore, NO_IDS,
    StoreOperation::{Begin, Check, Read, Write},
    locked,
    transaction::FaultyTx,
};
#[cfg(feature = "sql")]
use crate::store::{PublishTx, SqlConnection, SqlReader};
use crate::{
    message::{Shards, TopicPartition},
    store::{
        Advice, DeadLetter, DeadLetterFilter, DeadLetterId, HandledStore, InboxKey, KeptClock, LetterHead, LetterSummary,
        Migration, OutboxId, OutboxRow, Ownership, ParkedKey, ParkedMessage, PrunedLetters, ReplayStore, SagaStore, Sharing,
        Store, StoreError, StoreTx,
    },
    time::Timestamp,
};

#[async_trait]
impl Store for FaultyStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        self.shared.run(Write, "migrate", NO_IDS, self.inner.migrate()).await
    }

    async fn migrate_set(&self, set: &str, migrations: &[Migration]) -> Result<(), StoreError> {
        self.shared.run(Write, "migrate_set", NO_IDS, self.inner.migrate_set(set, migrations)).await
    }

    async fn begin(&self) -> Result<Box<dyn StoreTx>, StoreError> {
        let inner = self.shared.run(Begin, "begin", NO_IDS, self.inner.begin()).await?;
        Ok(Box::new(FaultyTx::new(inner, Arc::clone(&self.shared))))
    }

    async fn seen(&self, service: &str, keys: &[InboxKey]) -> Result<Vec<bool>, StoreError> {
        self.shared.run(Read, "seen", keys.iter().map(|key| key.id.as_str()), self.inner.seen(service, keys)).await
    }

    async fn outbox(&self, service: &str, after: OutboxId, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.shared.run(Read, "outbox", NO_IDS, self.inner.outbox(service, after, limit)).await
    }

    async fn outbox_of(
        &self,
        service: &str,
        shards: Shards,
        known: &[OutboxId],
        limit: usize,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.shared.run(Read, "outbox_of", NO_IDS, self.inner.outbox_of(service, shards, known, limit)).await
    }

    fn sharing(&self) -> Option<&dyn Sharing> {
        self.inner_sharing().map(|_| self as &dyn Sharing)
    }

    async fn parked_keys(&self, service: &str) -> Result<Vec<ParkedKey>, StoreError> {
        self.shared.run(Read, "parked_keys", NO_IDS, self.inner.parked_keys(service)).await
    }

    async fn parked(&self, service: &str, topic: &str, key: &[u8], limit: usize) -> Result<Vec<ParkedMessage>, StoreError> {
        let read = self.inner.parked(service, topic, key, limit);
        let mut messages = self.shared.run(Read, "parked", [key], read).await?;
        let change = locked(&self.shared.change_parked).clone();
        if let Some(change) = change {
            messages.iter_mut().for_each(|message| change(message));
        }
        Ok(messages)
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
        self.shared.run(Read, "find_dead_letters", NO_IDS, self.inner.find_dead_letters(service, filter, offset, limit)).await
    }

    async fn dead_letter_heads(
        &self,
        service: &str,
        filter: &DeadLetterFilter,
        after: Option<&LetterHead>,
        limit: u32,
    ) -> Result<Vec<LetterHead>, StoreError> {
        self.shared.run(Read, "dead_letter_heads", NO_IDS, self.inner.dead_letter_heads(service, filter, after, limit)).await
    }

    async fn dead_letters_by_id(&self, service: &str, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError> {
        self.shared
            .run(Read, "dead_letters_by_id", ids.iter().map(|id| id.as_str()), self.inner.dead_letters_by_id(service, ids))
            .await
    }

    async fn dead_letter(&self, service: &str, id: &DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.shared.run(Read, "dead_letter", [id.as_str()], self.inner.dead_letter(service, id)).await
    }

    async fn holding_letters(&self, service: &str, letters: &[LetterHead]) -> Result<HashSet<DeadLetterId>, StoreError> {
        let ids = letters.iter().map(|letter| letter.id.as_str());
        self.shared.run(Read, "holding_letters", ids, self.inner.holding_letters(service, letters)).await
    }

    async fn prune_inbox(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.shared.run(Write, "prune_inbox", NO_IDS, self.inner.prune_inbox(service, before, limit)).await
    }

    async fn prune_dead_letters(
        &self,
        service: &str,
        open: Option<Timestamp>,
        settled: Option<Timestamp>,
        limit: u32,
    ) -> Result<PrunedLetters, StoreError> {
        self.shared.run(Write, "prune_dead_letters", NO_IDS, self.inner.prune_dead_letters(service, open, settled, limit)).await
    }

    async fn acquire_partitions(&self, service: &str, partitions: &[TopicPartition]) -> Result<Vec<Ownership>, StoreError> {
        self.shared.run(Write, "acquire_partitions", NO_IDS, self.inner.acquire_partitions(service, partitions)).await
    }

    async fn advance(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError> {
        self.shared.run(Write, "advance", NO_IDS, self.inner.advance(service, applied)).await
    }

    async fn rewind(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError> {
        self.shared.run(Write, "rewind", NO_IDS, self.inner.rewind(service, applied)).await
    }

    async fn record_partitions(&self, service: &str, topics: &[(String, i32)]) -> Result<Vec<bool>, StoreError> {
        self.shared.run(Write, "record_partitions", NO_IDS, self.inner.record_partitions(service, topics)).await
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        self.shared.run(Read, "time", NO_IDS, self.inner.time()).await
    }

    async fn clock(&self, service: &str) -> Result<Option<KeptClock>, StoreError> {
        self.shared.run(Read, "clock", NO_IDS, self.inner.clock(service)).await
    }

    async fn save_clock(&self, service: &str, clock: &KeptClock) -> Result<(), StoreError> {
        self.shared.run(Write, "save_clock", NO_IDS, self.inner.save_clock(service, clock)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.shared.run(Check, "check", NO_IDS, self.inner.check()).await
    }

    async fn advice(&self) -> Result<Vec<Advice>, StoreError> {
        self.shared.run(Read, "advice", NO_IDS, self.inner.advice()).await
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    async fn version(&self) -> Option<String> {
        self.inner.version().await
    }

    #[cfg(feature = "sql")]
    async fn reader(&self) -> Result<Option<SqlReader>, StoreError> {
        self.shared.run(Read, "reader", NO_IDS, self.inner.reader()).await
    }

    #[cfg(feature = "sql")]
    async fn join<'c>(&self, connection: SqlConnection<'c>) -> Result<Box<dyn PublishTx + 'c>, StoreError> {
        let inner = self.shared.run(Begin, "join", NO_IDS, self.inner.join(connection)).await?;
        Ok(Box::new(FaultyTx::new(inner, Arc::clone(&self.shared))))
    }

    /// The inner store belongs to the test, which closes it.
    async fn close(&self) {}
}
