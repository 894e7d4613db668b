//! The view of an instance for HTTP and for operators.

use serde::Serialize;

use crate::{
    engine::saga::Instance,
    saga::{Definition, InstanceRecord, InstanceState},
    time::Timestamp,
};

/// An instance of a saga as its tracker has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = SagaInstance))]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    /// The key of the instance.
    pub saga_id: String,
    /// The saga.
    pub saga: String,
    /// The version of the saga in which the instance began.
    pub version: u32,
    /// The state of the instance.
    pub state: InstanceState,
    /// The steps that are done or undone, in the order of their events.
    pub done: Vec<StepView>,
    /// The step that is in progress or being undone; `None` if there is none.
    #[cfg_attr(feature = "schema", schema(required))]
    pub current: Option<String>,
    /// The events that can come next.
    pub expected_next: Vec<String>,
    /// When the instance must have ended; `None` if it has ended.
    #[cfg_attr(feature = "schema", schema(required))]
    pub deadline: Option<Timestamp>,
    /// Why the instance cannot continue without an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub attention: Option<String>,
    /// How many events came that the saga does not allow.
    pub not_allowed: u32,
    /// The correlation id of the instance's events.
    pub correlation_id: String,
    /// When the instance began.
    pub started_at: Timestamp,
    /// When the instance changed last.
    pub updated_at: Timestamp,
    /// When the instance ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub ended_at: Option<Timestamp>,
}

/// A step of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = SagaStep))]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// The name of the step.
    pub step: String,
    /// When its event was published.
    pub at: Timestamp,
    /// The event that reports the result of the step.
    pub event: String,
}

impl InstanceView {
    /// Returns the view of `instance`. Without a `definition`, it shows neither steps nor expected events.
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
            not_allowed: instance.body.not_allowed,
            correlation_id: instance.body.correlation_id.clone(),
            started_at: instance.started_at,
            updated_at: instance.updated_at,
            ended_at: instance.ended_at,
        }
    }
    /// Returns the view of an instance whose body cannot be decoded.
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
