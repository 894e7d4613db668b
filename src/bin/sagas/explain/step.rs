//! The step records of an instance.

use sagas::{
    saga::{StepRecord, StepState},
    time::Timestamp,
};
use serde::Serialize;

/// A step record of a participant.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StepView {
    pub(super) service: String,
    pub(super) step: String,
    pub(super) state: StepState,
    pub(super) at: Timestamp,
    /// The time limit of an attempt that may be running.
    pub(super) until: Option<Timestamp>,
    pub(super) message_id: String,
}

impl StepView {
    pub(super) fn of(service: &str, record: StepRecord) -> Self {
        let StepRecord { step, state, message_id, until, at, .. } = record;
        Self { service: service.to_owned(), step, state, at, until, message_id: message_id.to_string() }
    }
}
