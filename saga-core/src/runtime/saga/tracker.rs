//! Which flow a service tracks.

use std::{sync::Arc, time::Duration};

use super::remote::{Remote, RemoteStep};
use crate::{
    handler::Handler,
    message::{EventSet, EventType},
    runtime::Service,
    saga::{Chart, Definition, Participants, RoleKind, Saga, StepGivenUp},
    store::StoredDefinition,
};

/// Has a service keep the instances of a flow: the service that begins them, and whose commit decides them.
///
/// # Delivery
/// An instance is kept from the transaction in which its first event is published, and moved by the flow's events in the
/// transactions in which this service handles or publishes them.
#[derive(Debug, Clone)]
#[must_use = "give it to `Service::tracks`"]
pub struct Tracker {
    pub(crate) definition: Arc<Definition>,
    pub(crate) events: Vec<EventType>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) retention: Duration,
}

impl Tracker {
    /// How long an instance is kept after its end, if nothing else is said: 30 days.
    pub const RETENTION: Duration = Duration::from_secs(30 * 86_400);

    /// The tracker of `S`, with the deadline of its definition.
    pub fn of<S: Saga>() -> Self {
        Self { definition: Arc::new(S::definition()), events: S::events(), deadline: None, retention: Self::RETENTION }
    }

    /// With another deadline for the whole flow. Participants keep what they did for as long as the inbox keeps messages, and twice
    /// the deadline of the definition beyond that: one that is longer than the two together belongs into the definition.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Keeps instances for as long after their end.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// The handler that follows those of the flow's events that this service neither handles nor publishes.
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

/// A service's part in flows.
#[derive(Clone, Copy)]
pub(crate) struct Participant<'s> {
    pub(crate) name: &'s str,
    pub(crate) handlers: &'s [Handler],
    /// What it does besides its handlers.
    pub(crate) steps: &'s [RemoteStep],
    pub(crate) trackers: &'s [Tracker],
}

impl<'s> From<&'s Service> for Participant<'s> {
    fn from(service: &'s Service) -> Self {
        Self { name: &service.name, handlers: &service.handlers, steps: &[], trackers: &service.trackers }
    }
}

impl<'s> From<&'s Remote> for Participant<'s> {
    fn from(remote: &'s Remote) -> Self {
        Self { name: &remote.name, handlers: &remote.handlers, steps: &remote.steps, trackers: &remote.trackers }
    }
}

/// Who does what in `definition`, as far as `services` say it.
pub(crate) fn participants<'s>(definition: &Definition, services: impl Iterator<Item = Participant<'s>>) -> Participants {
    let mut participants = Participants::default();
    for service in services {
        if service.trackers.iter().any(|tracker| tracker.definition.name == definition.name) {
            participants.tracker = Some(service.name.to_owned());
        }
        let by_handlers = service.handlers.iter().filter_map(Handler::role);
        let by_handlers = by_handlers.map(|role| (&role.saga, role.step, role.kind == RoleKind::Undo));
        let declared = service.steps.iter().map(|step| (&step.saga, step.step, step.undo));
        for (_, step, undo) in by_handlers.chain(declared).filter(|(saga, ..)| saga.name == definition.name) {
            let by = if undo { &mut participants.undone_by } else { &mut participants.done_by };
            by.insert(step.to_owned(), service.name.to_owned());
        }
    }
    participants
}

/// What is kept of a flow for whoever reads the database without the program.
pub(crate) fn stored(chart: &Chart) -> StoredDefinition {
    StoredDefinition {
        saga: chart.definition.name.clone(),
        version: chart.definition.version,
        // Texts and numbers are always written.
        body: serde_json::to_string(chart).unwrap_or_default(),
    }
}
