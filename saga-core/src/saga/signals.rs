//! What participants and the tracker of a flow say to each other: that a step cannot go on, and that it is to be tried again.

use serde::{Deserialize, Serialize};

use crate::message::Event;

/// A message of a flow was dead-lettered by a participant, or an event that the participant publishes does not reach the log:
/// published, on a topic of the framework's own, for the flow's tracker, which sets the instance to *needs attention*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepGivenUp {
    /// The flow.
    pub saga: String,
    /// The instance's key, as text.
    pub id: String,
    /// The step.
    pub step: String,
    /// Whether it was to be undone.
    pub undo: bool,
    /// Who gave it up.
    pub service: String,
    /// The dead letter there; empty for an event that waits in the outbox there.
    pub dead_letter: String,
    /// Why.
    pub error: String,
    /// After how many attempts.
    pub attempts: u32,
    /// The event that does not reach the log, if that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

impl Event for StepGivenUp {
    type Key = String;
    const NAME: &'static str = "SagaStepGivenUp";
    const TOPIC: &'static str = "sagas.attention";
    const VERSION: u32 = 1;

    fn key(&self) -> &String {
        &self.id
    }
}

/// An operator wants a dead letter of a participant tried again: for that participant, from the flow's tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryDeadLetter {
    /// The instance's key, as text.
    pub id: String,
    /// Who keeps it.
    pub service: String,
    /// Its identity there.
    pub dead_letter: String,
}

impl Event for RetryDeadLetter {
    type Key = String;
    const NAME: &'static str = "SagaRetryDeadLetter";
    const TOPIC: &'static str = "sagas.operations";
    const VERSION: u32 = 1;

    fn key(&self) -> &String {
        &self.id
    }
}
