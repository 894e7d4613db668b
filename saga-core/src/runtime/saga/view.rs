//! An instance, as it is shown.

use serde::Serialize;

use crate::{
    engine::saga::Instance,
    saga::{Definition, InstanceRecord, InstanceState},
    time::Timestamp,
};

/// An instance, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SagaInstance))]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    /// The key of the instance.
    pub saga_id: String,
    /// The flow.
    pub saga: String,
    /// The version in which it began.
    pub version: u32,
    /// How far it is.
    pub state: InstanceState,
    /// What is done, in the order of time.
    pub done: Vec<StepView>,
    /// The step that is being done, or undone; `None` when none is.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub current: Option<String>,
    /// The events of which one is expected next.
    pub expected_next: Vec<String>,
    /// When it should have ended; `None` when it has.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub deadline: Option<Timestamp>,
    /// Why somebody has to look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub attention: Option<String>,
    /// How many events came that the flow does not allow.
    pub not_allowed: u32,
    /// What the flow is known by elsewhere.
    pub correlation_id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it moved last.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub ended_at: Option<Timestamp>,
}

/// A step of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SagaStep))]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// The step.
    pub step: String,
    /// When its event was published.
    pub at: Timestamp,
    /// The event that says what came of it.
    pub event: String,
}

impl InstanceView {
    /// The view of `instance`, by its flow if that is known.
    pub fn of(instance: &Instance, definition: Option<&Definition>) -> Self {
        let expected = definition.map(|definition| instance.expected(definition)).unwrap_or_default();
        let done = definition.map(|definition| instance.done(definition)).unwrap_or_default();
        Self {
            saga_id: instance.key.id.clone(),
            saga: instance.key.saga.clone(),
            version: instance.version,
            state: instance.state,
            done: done.into_iter().map(|(step, event, at)| StepView { step: step.to_owned(), at, event }).collect(),
            current: expected.first().map(|next| next.step.to_owned()),
            expected_next: expected.iter().flat_map(|next| next.events.iter().map(|event| (*event).to_owned())).collect(),
            deadline: instance.deadline(),
            attention: instance.attention.clone(),
            not_allowed: instance.known.not_allowed,
            correlation_id: instance.known.correlation_id.clone(),
            started_at: instance.started_at,
            updated_at: instance.updated_at,
            ended_at: instance.ended_at,
        }
    }
    /// The view of an instance of which this program knows no more than that it is there.
    pub(super) fn unreadable(record: InstanceRecord, error: &serde_json::Error) -> Self {
        let InstanceRecord { instance, version, state, due, started_at, updated_at, ended_at, .. } = record;
        Self {
            saga_id: instance.id,
            saga: instance.saga,
            version,
            state,
            done: Vec::new(),
            current: None,
            expected_next: Vec::new(),
            deadline: due,
            attention: Some(format!("it cannot be read, was it written by a newer program? {error}")),
            not_allowed: 0,
            correlation_id: String::new(),
            started_at,
            updated_at,
            ended_at,
        }
    }
}
