//! The messages between the participants and the tracker of a saga: that a step cannot continue, and that it is to be retried.

use serde::{Deserialize, Serialize};

use crate::message::{Event, Json};

/// A participant's notice to the tracker that a message of the saga became a dead letter, or that an event cannot be sent to the log.
///
/// The tracker then sets the attention of the instance. The notice is published on a topic of the framework.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepGivenUp {
    /// The name of the saga.
    pub saga: String,
    /// The key of the instance, as text.
    pub id: String,
    /// The name of the step.
    pub step: String,
    /// Whether the compensation failed, and not the step itself.
    pub undo: bool,
    /// The service that publishes this notice.
    pub service: String,
    /// The id of the dead letter in that service; empty for an event that waits in its outbox.
    pub dead_letter: String,
    /// The error.
    pub error: String,
    /// The number of attempts.
    pub attempts: u32,
    /// The event that cannot be sent to the log, if that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

impl Event for StepGivenUp {
    type Key = String;
    type Codec = Json;
    const NAME: &'static str = "SagaStepGivenUp";
    const TOPIC: &'static str = "sagas.attention";
    const VERSION: u32 = 1;

    fn key(&self) -> String {
        self.id.clone()
    }
}

/// The tracker's request to a participant to retry a dead letter.
///
/// An operator has asked for it. The request is published on a topic of the framework.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryDeadLetter {
    /// The key of the instance, as text.
    pub id: String,
    /// The service with the dead letter.
    pub service: String,
    /// The id of the dead letter in that service.
    pub dead_letter: String,
}

impl Event for RetryDeadLetter {
    type Key = String;
    type Codec = Json;
    const NAME: &'static str = "SagaRetryDeadLetter";
    const TOPIC: &'static str = "sagas.operations";
    const VERSION: u32 = 1;

    fn key(&self) -> String {
        self.id.clone()
    }
}
