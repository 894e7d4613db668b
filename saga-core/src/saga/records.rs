//! What a service stores about an instance: the records of its own steps and, if it tracks the saga, the state of the instance.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};

use crate::{failure::Fault, id::MessageId, time::Timestamp};

/// The identity of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceKey {
    /// The name of the saga.
    pub saga: String,
    /// The key that all events of the instance share, as text.
    pub id: String,
}

/// The state of one step of one instance in the service that does the step. There is at most one record for each step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    /// The instance.
    pub instance: InstanceKey,
    /// The step.
    pub step: String,
    /// The state of the step.
    pub state: StepState,
    /// The event that the step published when it was done. It is kept when the step is undone.
    pub record: Option<LeftBehind>,
    /// The id of the last message that the service handled for this step.
    pub message_id: MessageId,
    /// The time until which an attempt may be running. Set only while the step is [`Begun`](StepState::Begun).
    pub until: Option<Timestamp>,
    /// When the record was written.
    pub at: Timestamp,
}

/// The event that a step published, in its encoded form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeftBehind {
    /// The encoded event: unchanged if it is UTF-8, otherwise as base64 after the prefix `base64:`.
    pub value: String,
    /// The version that it was encoded as.
    pub version: u32,
}

/// The prefix of a value that is not UTF-8.
const BASE64: &str = "base64:";

impl LeftBehind {
    /// Creates it from the encoded event.
    pub fn new(value: &[u8], version: u32) -> Self {
        let value = match std::str::from_utf8(value) {
            Ok(text) if !text.starts_with(BASE64) => text.to_owned(),
            _ => format!("{BASE64}{}", BASE64_STANDARD.encode(value)),
        };
        Self { value, version }
    }

    /// Returns the encoded event.
    ///
    /// # Errors
    /// Returns an error if the value has the prefix `base64:` and is not valid base64.
    pub fn bytes(&self) -> Result<Vec<u8>, Fault> {
        match self.value.strip_prefix(BASE64) {
            None => Ok(self.value.as_bytes().to_vec()),
            Some(encoded) => Ok(BASE64_STANDARD.decode(encoded)?),
        }
    }
}

/// The state of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Its handler was called outside a transaction, and the outcome is not yet known.
    Begun,
    /// The step was done.
    Done,
    /// The step was refused.
    Rejected,
    /// The step was done and then undone.
    Undone,
    /// Its compensation came first, or the instance was aborted before: the step must not be done any longer.
    Barred,
}

impl StepState {
    /// Returns the name of the state in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Rejected => "rejected",
            Self::Undone => "undone",
            Self::Barred => "barred",
        }
    }

    /// Returns the state with the name `word`.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Begun, Self::Done, Self::Rejected, Self::Undone, Self::Barred].into_iter().find(|state| state.as_str() == word)
    }
}

/// An instance, as the tracker stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRecord {
    /// The identity of the instance.
    pub instance: InstanceKey,
    /// The version of the saga in which it started.
    pub version: u32,
    /// The state of the instance.
    pub state: InstanceState,
    /// The reason why the instance cannot continue without an operator, if any.
    pub attention: Option<String>,
    /// When the next timer of the instance is due.
    pub due: Option<Timestamp>,
    /// When the instance started.
    pub started_at: Timestamp,
    /// When the instance last changed.
    pub updated_at: Timestamp,
    /// When the instance ended; `None` while something is outstanding.
    pub ended_at: Option<Timestamp>,
    /// The remaining state, as JSON. Only the engine reads and writes it.
    pub body: String,
}

/// The state of an instance. It only changes to a later one in this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = SagaState))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InstanceState {
    /// Not decided yet.
    Running,
    /// The pivot is done: the remaining steps will be done.
    Completing,
    /// The instance was aborted: the steps that were done are being undone.
    Compensating,
    /// The instance has succeeded.
    Completed,
    /// The instance was aborted, and all steps that were done are undone; or an operator has ended it before it was decided.
    Aborted,
}

impl InstanceState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Running, Self::Completing, Self::Compensating, Self::Completed, Self::Aborted];

    /// Returns the name of the state in the database, in HTTP and in diagrams.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completing => "COMPLETING",
            Self::Compensating => "COMPENSATING",
            Self::Completed => "COMPLETED",
            Self::Aborted => "ABORTED",
        }
    }

    /// Returns the state with the name `word`.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_behind_is_text_whatever_the_event_is_written_as() {
        let table: [(&[u8], &str); 4] = [
            (br#"{"id":7}"#, r#"{"id":7}"#),
            (b"", ""),
            (&[0, 0xff, 7], "base64:AP8H"),
            (b"base64:AP8H", "base64:YmFzZTY0OkFQOEg="),
        ];
        for (value, text) in table {
            let left = LeftBehind::new(value, 3);
            assert_eq!((&*left.value, left.bytes().expect("is read")), (text, value.to_vec()));
        }
        assert!(LeftBehind { value: "base64:?".to_owned(), version: 1 }.bytes().is_err());
    }
}
