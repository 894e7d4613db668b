//! The services that take part in sagas, and their steps.

use super::{Remote, Tracker, remote::RemoteStep};
use crate::{
    handler::Handler,
    message::EventType,
    runtime::Service,
    saga::{Definition, Participants, RoleKind},
};

/// A service of this or another program, with what it does in sagas.
#[derive(Clone, Copy)]
pub(crate) struct Participant<'p> {
    pub(crate) name: &'p str,
    pub(crate) handlers: &'p [Handler],
    /// The steps that it does without a handler in this program.
    pub(crate) steps: &'p [RemoteStep],
    pub(crate) trackers: &'p [Tracker],
    pub(crate) publishes: &'p [EventType],
    pub(crate) remote: bool,
}

impl<'p> From<&'p Service> for Participant<'p> {
    fn from(service: &'p Service) -> Self {
        let Service { name, handlers, trackers, publishes, .. } = service;
        Self { name, handlers, steps: &[], trackers, publishes, remote: false }
    }
}

impl<'p> From<&'p Remote> for Participant<'p> {
    fn from(remote: &'p Remote) -> Self {
        let Remote { name, handlers, steps, trackers, publishes, .. } = remote;
        Self { name, handlers, steps, trackers, publishes, remote: true }
    }
}

/// Returns which of `services` tracks `definition` and does or undoes each of its steps.
pub(crate) fn participants<'p>(definition: &Definition, services: impl Iterator<Item = Participant<'p>>) -> Participants {
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
