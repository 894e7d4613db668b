//! What a service keeps of the sagas it takes part in: the steps it did, and, where it tracks a flow, the instances.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::{id::MessageId, time::Timestamp};

/// An instance of a saga.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceKey {
    /// The saga's name.
    pub saga: String,
    /// The key that the instance's events share, as text.
    pub id: String,
}

/// What a service did at one step of one instance. There is at most one record of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    /// The instance.
    pub instance: InstanceKey,
    /// The step.
    pub step: String,
    /// How far it is.
    pub state: StepState,
    /// The event that said it was done, as JSON; kept when it is undone.
    pub record: Option<String>,
    /// The message that the service answered last.
    pub message_id: MessageId,
    /// Until when an attempt may be running; only of a step that is [`Begun`](StepState::Begun).
    pub until: Option<Timestamp>,
    /// When this was written.
    pub at: Timestamp,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Its handler was called, outside a transaction, and what came of it is not known here yet.
    Begun,
    /// It was done.
    Done,
    /// It was refused, by a business *no*.
    Rejected,
    /// It was done, and undone.
    Undone,
    /// Its compensation came first: it must not be done any more.
    Barred,
}

impl StepState {
    /// The word for it, in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Rejected => "rejected",
            Self::Undone => "undone",
            Self::Barred => "barred",
        }
    }

    /// The state that `word` stands for.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Begun, Self::Done, Self::Rejected, Self::Undone, Self::Barred].into_iter().find(|state| state.as_str() == word)
    }
}

/// An instance, as the service that tracks the flow keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRecord {
    /// The instance.
    pub instance: InstanceKey,
    /// The version of the flow in which it began.
    pub version: u32,
    /// How far it is.
    pub state: InstanceState,
    /// Why somebody has to look at it.
    pub attention: Option<String>,
    /// When its next timer ends.
    pub due: Option<Timestamp>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it moved last.
    pub updated_at: Timestamp,
    /// When it ended; `None` while something is outstanding.
    pub ended_at: Option<Timestamp>,
    /// What else is known of it, as JSON: the engine's.
    pub body: String,
}

/// How far an instance is. It only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InstanceState {
    /// Nothing is decided.
    Running,
    /// The pivot is behind it: what is left will be done.
    Completing,
    /// It was given up: what was done is being undone.
    Compensating,
    /// It has succeeded.
    Completed,
    /// It has come to nothing.
    Aborted,
}

impl InstanceState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Running, Self::Completing, Self::Compensating, Self::Completed, Self::Aborted];

    /// The word for it, in the database and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completing => "COMPLETING",
            Self::Compensating => "COMPENSATING",
            Self::Completed => "COMPLETED",
            Self::Aborted => "ABORTED",
        }
    }

    /// The state that `word` stands for.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

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
