//! Services that take part in a flow from other processes.

use std::sync::Arc;

use crate::{
    handler::Handler,
    message::{EventSet, EventType},
    runtime::Tracker,
    saga::{Definition, Saga},
};

/// A service that runs in another process, as far as the check of a flow needs it.
///
/// It is declared by its steps, for which the definition of the flow is enough: the service may live in another repository, or be
/// written in another language. Where its handlers are linked into this program anyway, [`handlers`](Self::handlers) checks more.
#[derive(Debug)]
#[must_use = "give it to `App::remote`"]
pub struct Remote {
    pub(crate) name: String,
    pub(crate) steps: Vec<RemoteStep>,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) trackers: Vec<Tracker>,
    pub(crate) publishes: Vec<EventType>,
}

/// What a service in another process does in a flow.
#[derive(Debug)]
pub(crate) struct RemoteStep {
    pub(crate) saga: Arc<Definition>,
    /// The name of a step, or of the abort.
    pub(crate) step: &'static str,
    pub(crate) undo: bool,
}

impl Remote {
    /// The service called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), steps: Vec::new(), handlers: Vec::new(), trackers: Vec::new(), publishes: Vec::new() }
    }

    /// It does this step, or gives the flow up where this is the abort.
    pub fn does<S: Saga>(self, step: S) -> Self {
        self.with(&step, false)
    }

    /// It undoes this step.
    pub fn undoes<S: Saga>(self, step: S) -> Self {
        self.with(&step, true)
    }

    fn with<S: Saga>(mut self, step: &S, undo: bool) -> Self {
        self.steps.push(RemoteStep { saga: Arc::new(S::definition()), step: step.step_name(), undo });
        self
    }

    /// It has these handlers.
    pub fn handlers(mut self, handlers: impl IntoIterator<Item = Handler>) -> Self {
        self.handlers.extend(handlers);
        self
    }

    /// It tracks a flow.
    pub fn tracks(mut self, tracker: Tracker) -> Self {
        self.trackers.push(tracker);
        self
    }

    /// It publishes these events besides those of its steps and those that its handlers return.
    pub fn publishes<E: EventSet>(mut self) -> Self {
        self.publishes.extend(E::types());
        self
    }
}
