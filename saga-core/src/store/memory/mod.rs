//! A store in memory, for tests and for services that store nothing. It has real transactions and no SQL.
//!
//! A transaction stages its changes and applies them when it commits. Transactions run one at a time, in the order of their requests.

mod handled;
mod replays;
mod sagas;
mod tables;
mod transaction;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use self::{tables::Tables, transaction::MemoryTx};
use super::{
    DeadLetter, DeadLetterFilter, DeadLetterId, HandledStore, InboxKey, KeptClock, LetterHead, LetterSummary, Migration,
    OutboxId, OutboxRow, Ownership, ParkedKey, ParkedMessage, PrunedLetters, ReplayStore, SagaStore, Store, StoreError, StoreTx,
    migrations,
};
use crate::{message::TopicPartition, time::Timestamp};

/// How long [`Store::begin`] waits for the previous transactions.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store in memory.
///
/// ```
/// # use saga_core::store::{Store, StoreTx, memory::MemoryStore};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = MemoryStore::default();
/// store.begin().await?.commit().await?;
/// # Ok::<(), saga_core::store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
    writer: Arc<tokio::sync::Mutex<()>>,
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the previous transactions have ended, and returns the lock for writing.
    async fn writer(&self) -> Result<OwnedMutexGuard<()>, StoreError> {
        tokio::time::timeout(PATIENCE, Arc::clone(&self.writer).lock_owned()).await.map_err(|_| {
            StoreError::Unavailable(format!(
                "another transaction has been open for {} s; see that none is held across a wait",
                PATIENCE.as_secs()
            ))
        })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Records that the migrations have run. Their SQL is not run.
    async fn migrate_set(&self, set: &str, migrations: &[Migration]) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let applied = tables.migrations.entry(set.to_owned()).or_default();
        let pending = migrations::pending(set, migrations, applied)?;
        applied.extend(pending.iter().map(|migration| (migration.version, migrations::fingerprint(migration.sql))));
        Ok(())
    }

    async fn begin(&self) -> Result<Box<dyn StoreTx>, StoreError> {
        Ok(Box::new(MemoryTx::new(Arc::clone(&self.tables), self.writer().await?)))
    }

    async fn seen(&self, service: &str, keys: &[InboxKey]) -> Result<Vec<bool>, StoreError> {
        let tables = self.tables();
        Ok(keys.iter().map(|key| tables.inbox.get(service).is_some_and(|inbox| inbox.contains_key(key))).collect())
    }

    async fn outbox(&self, service: &str, after: OutboxId, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        let tables = self.tables();
        let rows = tables.outbox.range(first..).filter(|(_, (owner, _))| owner == service).take(limit);
        Ok(rows.map(|(id, (_, record))| OutboxRow { id: *id, record: record.clone(), unreadable: None }).collect())
    }

    async fn parked_keys(&self, service: &str) -> Result<Vec<ParkedKey>, StoreError> {
        Ok(self.tables().parked_keys(service))
    }

    async fn parked(&self, service: &str, topic: &str, key: &[u8], limit: usize) -> Result<Vec<ParkedMessage>, StoreError> {
        let tables = self.tables();
        let messages = tables
            .parked
            .values()
            .filter(|(owner, message)| owner == service && message.received.record.topic == topic && message.key() == key);
        Ok(messages.take(limit).map(|(_, message)| message.clone()).collect())
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
        Ok(self.tables().find_letters(service, filter, offset, limit))
    }

    async fn dead_letter_heads(
        &self,
        service: &str,
        filter: &DeadLetterFilter,
        after: Option<&LetterHead>,
        limit: u32,
    ) -> Result<Vec<LetterHead>, StoreError> {
        Ok(self.tables().letter_heads(service, filter, after, limit))
    }

    async fn dead_letters_by_id(&self, service: &str, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(self.tables().letters_of(service).filter(|letter| ids.contains(&letter.id)).cloned().collect())
    }

    async fn dead_letter(&self, service: &str, id: &DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        Ok(self.tables().letters_of(service).find(|letter| letter.id == *id).cloned())
    }

    async fn holding_letters(&self, service: &str, letters: &[LetterHead]) -> Result<HashSet<DeadLetterId>, StoreError> {
        let tables = self.tables();
        let holding = letters.iter().filter(|letter| tables.held_by(service, letter).is_some());
        Ok(holding.map(|letter| letter.id.clone()).collect())
    }

    async fn prune_inbox(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        Ok(self.tables().prune_inbox(service, before, limit))
    }

    async fn prune_dead_letters(
        &self,
        service: &str,
        open: Option<Timestamp>,
        settled: Option<Timestamp>,
        limit: u32,
    ) -> Result<PrunedLetters, StoreError> {
        let _writer = self.writer().await?;
        Ok(self.tables().prune_letters(service, open, settled, limit))
    }

    async fn acquire_partitions(&self, service: &str, partitions: &[TopicPartition]) -> Result<Vec<Ownership>, StoreError> {
        let _writer = self.writer().await?;
        Ok(self.tables().own(service, partitions))
    }

    async fn advance(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError> {
        Ok(self.tables().apply_offsets(service, applied, |before, offset| before.map_or(offset, |before| before.max(offset))))
    }

    async fn rewind(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError> {
        Ok(self.tables().apply_offsets(service, applied, |_, offset| offset))
    }

    async fn record_partitions(&self, service: &str, topics: &[(String, i32)]) -> Result<Vec<bool>, StoreError> {
        Ok(self.tables().note_partitions(service, topics))
    }

    async fn clock(&self, service: &str) -> Result<Option<KeptClock>, StoreError> {
        Ok(self.tables().clocks.get(service).cloned())
    }

    async fn save_clock(&self, service: &str, clock: &KeptClock) -> Result<(), StoreError> {
        self.tables().clocks.insert(service.to_owned(), clock.clone());
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }

    async fn close(&self) {
        // The transaction that holds the lock can still commit.
        drop(self.writer.lock().await);
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use super::*;
    use crate::testing::conformance::store::Subject;

    async fn open() -> Subject {
        Subject::new(Arc::new(MemoryStore::default()))
    }

    crate::store_conformance!(open);
}
