//! What a service stores of its sagas: the step records and, in the tracker, the instances.

use async_trait::async_trait;

use super::StoreError;
pub use crate::saga::{InstanceKey, InstanceRecord, InstanceState, LeftBehind, StepRecord, StepState};
use crate::time::Timestamp;

/// An entry in the history of an instance: an event, or an action of an operator, a timer or the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The instance.
    pub instance: InstanceKey,
    /// The event's name. For an action, a word that begins with `operator.`, `timer.` or `log.`.
    pub event: String,
    /// The message id of the event; empty for an action.
    pub message_id: String,
    /// The id of the message that caused it.
    pub causation_id: Option<String>,
    /// The service that published or did it.
    pub source: String,
    /// When it was published or done.
    pub at: Timestamp,
    /// When the tracker saw it.
    pub seen_at: Timestamp,
    /// A remark: the saga does not allow the event, the event is a repetition, or the reason that an operator gave.
    pub note: Option<String>,
}

/// A query for instances. An instance must match all fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceQuery {
    /// The saga.
    pub saga: Option<String>,
    /// The state.
    pub state: Option<InstanceState>,
    /// Only instances that have not ended.
    pub open: bool,
    /// Only instances that need attention.
    pub attention: bool,
    /// Only instances that have not changed since this time.
    pub idle_since: Option<Timestamp>,
    /// The order of the result.
    pub order: InstanceOrder,
    /// How many instances to skip.
    pub offset: u64,
    /// The largest number of instances to return.
    pub limit: u32,
}

/// The order of the instances in a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InstanceOrder {
    /// The instances that began last come first.
    #[default]
    Newest,
    /// The instances that have not changed for the longest time come first.
    Stalest,
}

/// The number of open instances of one version of a saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenVersion {
    /// The saga.
    pub saga: String,
    /// The version.
    pub version: u32,
    /// The number of instances.
    pub instances: u64,
}

/// A saga's definition, stored for programs that read the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDefinition {
    /// The saga.
    pub saga: String,
    /// The version.
    pub version: u32,
    /// The definition and the participants of its steps, as JSON.
    pub body: String,
}

/// The part of a [`Store`](super::Store) that reads the data of sagas outside a transaction.
#[async_trait]
pub trait SagaStore: Send + Sync {
    /// Returns each service that has data of sagas, dead letters or applied offsets in this database.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn services(&self) -> Result<Vec<String>, StoreError>;

    /// Returns the step records of `service` for an instance, ordered by the names of the steps.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn steps(&self, service: &str, instance: &InstanceKey) -> Result<Vec<StepRecord>, StoreError>;

    /// Returns one instance; `None` when it does not exist.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn instance(&self, service: &str, instance: &InstanceKey) -> Result<Option<InstanceRecord>, StoreError>;

    /// Returns one page of the instances that match `query`, and the total number of matches.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn instances(&self, service: &str, query: &InstanceQuery) -> Result<(Vec<InstanceRecord>, u64), StoreError>;

    /// Returns the history of an instance, in the order in which the tracker saw its entries.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn history(&self, service: &str, instance: &InstanceKey) -> Result<Vec<HistoryEntry>, StoreError>;

    /// Returns at most `limit` instances whose timer has expired at `now`, the earliest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn due(&self, service: &str, now: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError>;

    /// Returns the time at which the next timer expires.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn next_due(&self, service: &str) -> Result<Option<Timestamp>, StoreError>;

    /// Returns at most `limit` instances that have not ended and were last written after `after`.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn updated_after(&self, service: &str, after: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError>;

    /// Returns the number of instances that have not ended, for each saga and version.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn open_versions(&self, service: &str) -> Result<Vec<OpenVersion>, StoreError>;

    /// Returns the number of instances that need attention, for each saga.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn attention(&self, service: &str) -> Result<Vec<(String, u64)>, StoreError>;

    /// Returns the stored definitions, ordered by name and version.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn definitions(&self, service: &str) -> Result<Vec<StoredDefinition>, StoreError>;

    /// Stores a definition, and replaces the one with the same name and version.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn define(&self, service: &str, definition: &StoredDefinition) -> Result<(), StoreError>;

    /// Removes at most `limit` step records that were written before `steps`, and at most `limit` instances that ended before `instances`,
    /// with their history. Returns the larger of the two counts.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn prune(&self, service: &str, steps: Timestamp, instances: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
