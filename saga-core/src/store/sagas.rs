//! What a service keeps of the sagas it takes part in: the steps it did, and, where it tracks a flow, the instances.

use async_trait::async_trait;

use super::StoreError;
pub use crate::saga::{InstanceKey, InstanceRecord, InstanceState, StepRecord, StepState};
use crate::time::Timestamp;

/// Something that happened to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The instance.
    pub instance: InstanceKey,
    /// The event's name; or, of what an operator or a timer did, a word that begins with `operator.` or `timer.`.
    pub event: String,
    /// The event's identity; empty where there was none.
    pub message_id: String,
    /// The event that led to it.
    pub causation_id: Option<String>,
    /// Who published it, or did it.
    pub source: String,
    /// When it was published, or done.
    pub at: Timestamp,
    /// When the tracker took it in.
    pub seen_at: Timestamp,
    /// What is to be said of it: that the flow does not allow it, that it came again, why an operator did it.
    pub note: Option<String>,
}

/// Which instances are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceQuery {
    /// Of this saga.
    pub saga: Option<String>,
    /// In this state.
    pub state: Option<InstanceState>,
    /// Only those that have not ended.
    pub open: bool,
    /// Only those that somebody has to look at.
    pub attention: bool,
    /// Only those that have not moved since.
    pub idle_since: Option<Timestamp>,
    /// In which order.
    pub order: InstanceOrder,
    /// How many are left out at the beginning.
    pub offset: u64,
    /// How many at most.
    pub limit: u32,
}

/// An order of instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InstanceOrder {
    /// Those that began last come first.
    #[default]
    Newest,
    /// Those that have not moved for longest come first.
    Stalest,
}

/// Open instances of one version of a saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenVersion {
    /// The saga.
    pub saga: String,
    /// The version.
    pub version: u32,
    /// How many.
    pub instances: u64,
}

/// A flow, as it is kept for whoever reads the database without the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDefinition {
    /// The saga.
    pub saga: String,
    /// The version.
    pub version: u32,
    /// The definition and who does what, as JSON.
    pub body: String,
}

/// The part of a [`Store`](super::Store) that reads what is kept of sagas, outside a transaction.
#[async_trait]
pub trait SagaStore: Send + Sync {
    /// The services that keep something here, of sagas, dead letters or partitions that they have read, each once.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn services(&self) -> Result<Vec<String>, StoreError>;

    /// What `service` did at the steps of an instance, in the order of the steps' names.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn steps(&self, service: &str, instance: &InstanceKey) -> Result<Vec<StepRecord>, StoreError>;

    /// One instance; `None` when it is not there.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn instance(&self, service: &str, instance: &InstanceKey) -> Result<Option<InstanceRecord>, StoreError>;

    /// One page of the instances that `query` wants, and how many there are in all.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn instances(&self, service: &str, query: &InstanceQuery) -> Result<(Vec<InstanceRecord>, u64), StoreError>;

    /// What happened to an instance, in the order in which the tracker took it in.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn history(&self, service: &str, instance: &InstanceKey) -> Result<Vec<HistoryEntry>, StoreError>;

    /// At most `limit` instances whose timer has ended by `now`, the earliest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn due(&self, service: &str, now: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError>;

    /// When the next timer ends.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn next_due(&self, service: &str) -> Result<Option<Timestamp>, StoreError>;

    /// At most `limit` instances that have not ended and were last written after `after`.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn updated_after(&self, service: &str, after: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError>;

    /// How many instances have not ended, by saga and version.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn open_versions(&self, service: &str) -> Result<Vec<OpenVersion>, StoreError>;

    /// How many instances somebody has to look at, by saga.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn attention(&self, service: &str) -> Result<Vec<(String, u64)>, StoreError>;

    /// The flows that are kept, in the order of names and versions.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn definitions(&self, service: &str) -> Result<Vec<StoredDefinition>, StoreError>;

    /// Keeps a flow, in place of the one with its name and version.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn define(&self, service: &str, definition: &StoredDefinition) -> Result<(), StoreError>;

    /// Forgets at most `limit` records of steps that were written before `steps`, and at most `limit` instances that ended before
    /// `instances`, with their history; says how many rows of the two it forgot.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn prune(&self, service: &str, steps: Timestamp, instances: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
