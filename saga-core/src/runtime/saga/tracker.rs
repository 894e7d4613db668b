//! Which saga a service tracks.

use std::{sync::Arc, time::Duration};

use crate::{
    handler::Handler,
    message::{EventSet, EventType},
    saga::{Chart, Definition, RoleKind, Saga, StepGivenUp},
    store::StoredDefinition,
};

/// The declaration that a service tracks a saga. It belongs to the service that publishes the saga's first event and decides its instances.
///
/// # Delivery
/// The transaction that publishes the first event of an instance also creates the instance. Each transaction in which this service handles
/// or publishes an event of the saga updates it.
#[derive(Debug, Clone)]
#[must_use = "give it to `Service::tracks`"]
pub struct Tracker {
    pub(crate) definition: Arc<Definition>,
    pub(crate) events: Vec<EventType>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) retention: Duration,
}

impl Tracker {
    /// The default retention of an instance after its end: 30 days.
    pub const RETENTION: Duration = Duration::from_secs(30 * 86_400);

    /// Returns the tracker of `S`, with the deadline of its definition and the default retention.
    pub fn of<S: Saga>() -> Self {
        Self { definition: Arc::new(S::definition()), events: S::events(), deadline: None, retention: Self::RETENTION }
    }

    /// Sets another deadline for whole instances. Participants keep their step records for the retention of the inbox plus twice the
    /// deadline of the definition: a deadline that is longer than this sum must be set in the definition instead.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets how long an instance is kept after its end.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Returns the handler for those events of the saga that this service neither handles nor publishes.
    pub(crate) fn handler(&self, handlers: &[Handler]) -> Option<Handler> {
        let own = |name: &str| {
            let definition = &self.definition;
            let by_role = handlers.iter().filter_map(|handler| handler.role()).any(|role| {
                let step = definition.step(role.step);
                role.saga.name == definition.name
                    && match role.kind {
                        RoleKind::Undo => step.and_then(|step| step.undo.as_ref()).is_some_and(|undo| undo.emits.name == name),
                        RoleKind::Abort => definition.aborts.name == name,
                        _ => step.is_some_and(|step| {
                            step.emits.name == name || step.rejects.as_ref().is_some_and(|event| event.name == name)
                        }),
                    }
            });
            by_role || definition.starts.name == name || definition.aborts.name == name
        };
        let handled = |event: &EventType| {
            handlers.iter().flat_map(Handler::accepts).any(|taken| (taken.topic, taken.name) == (event.topic, event.name))
        };
        let mut accepts: Vec<_> = self.events.iter().filter(|event| !own(event.name) && !handled(event)).copied().collect();
        accepts.extend(<StepGivenUp as EventSet>::types().into_iter().filter(|event| !handled(event)));
        (!accepts.is_empty()).then(|| Handler::of_tracker(accepts))
    }
}

/// Returns the definition in the form that is stored for readers of the database that do not have the program.
pub(crate) fn stored(chart: &Chart) -> StoredDefinition {
    StoredDefinition {
        saga: chart.definition.name.clone(),
        version: chart.definition.version,
        // Cannot fail: the chart consists of texts and numbers.
        body: serde_json::to_string(chart).unwrap_or_default(),
    }
}
