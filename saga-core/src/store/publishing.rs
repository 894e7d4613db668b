//! The part of a transaction that publishing needs: the outbox and the data of sagas.

use async_trait::async_trait;

use super::{HistoryEntry, InstanceKey, InstanceRecord, OutboxId, StepRecord, StoreError};
use crate::message::Record;

/// An open transaction in which events are published: a [`StoreTx`](super::StoreTx), or a transaction that other code has begun and will
/// end ([`Store::join`](super::Store::join)).
#[async_trait]
pub trait PublishTx: Send {
    /// Adds rows to the outbox and returns their ids, which ascend in the order given. For rows of the same key in one service, ids also
    /// ascend in the order in which their transactions commit.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn append_outbox(&mut self, service: &str, rows: &[Record]) -> Result<Vec<OutboxId>, StoreError>;

    /// Returns the step records of the service for these instances, and locks the instances until this transaction ends, whether or not
    /// records exist: a second transaction that calls this waits for the first. Call it before other statements. If you call it more than
    /// once, call it in the order of the keys, to avoid deadlocks.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn load_steps(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<StepRecord>, StoreError>;

    /// Writes step records. Each replaces the record of the same instance and step.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn save_steps(&mut self, service: &str, steps: &[StepRecord]) -> Result<(), StoreError>;

    /// Returns those of these instances that exist, and locks all of them as [`load_steps`](PublishTx::load_steps) does.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn load_instances(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<InstanceRecord>, StoreError>;

    /// Writes instances. Each replaces the one with the same key.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn save_instances(&mut self, service: &str, instances: &[InstanceRecord]) -> Result<(), StoreError>;

    /// Adds entries to the history of instances, in the order given.
    ///
    /// # Errors
    /// When the transaction is broken.
    async fn append_history(&mut self, service: &str, entries: &[HistoryEntry]) -> Result<(), StoreError>;
}
