//! What a service keeps of an instance: the steps it did, and, where it tracks the flow, how far the instance is.

use serde::{Deserialize, Serialize};

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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SagaState))]
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
