//! Services of other programs that take part in sagas.

use std::sync::Arc;

use crate::{
    handler::Handler,
    message::{EventSet, EventType},
    runtime::Tracker,
    saga::{Definition, Saga},
};

/// A service that runs in another program, declared for the check of the sagas at the start.
///
/// Usually it is declared by its steps, which needs only the definition of the saga. The service can live in another repository or be
/// written in another language. If its handlers are part of this program as well, [`handlers`](Self::handlers) lets the check cover more.
#[derive(Debug)]
#[must_use = "give it to `App::remote`"]
pub struct Remote {
    pub(crate) name: String,
    pub(crate) steps: Vec<RemoteStep>,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) trackers: Vec<Tracker>,
    pub(crate) publishes: Vec<EventType>,
}

/// A step that a service of another program does or undoes.
#[derive(Debug)]
pub(crate) struct RemoteStep {
    pub(crate) saga: Arc<Definition>,
    /// The name of a step, or of the abort.
    pub(crate) step: &'static str,
    pub(crate) undo: bool,
}

impl Remote {
    /// Declares the service `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), steps: Vec::new(), handlers: Vec::new(), trackers: Vec::new(), publishes: Vec::new() }
    }

    /// Declares that the service does `step`, or aborts the saga if `step` is the abort.
    pub fn does<S: Saga>(self, step: S) -> Self {
        self.with(&step, false)
    }

    /// Declares that the service undoes `step`.
    pub fn undoes<S: Saga>(self, step: S) -> Self {
        self.with(&step, true)
    }

    fn with<S: Saga>(mut self, step: &S, undo: bool) -> Self {
        self.steps.push(RemoteStep { saga: Arc::new(S::definition()), step: step.step_name(), undo });
        self
    }

    /// Declares the handlers of the service.
    pub fn handlers(mut self, handlers: impl IntoIterator<Item = Handler>) -> Self {
        self.handlers.extend(handlers);
        self
    }

    /// Declares that the service tracks a saga.
    pub fn tracks(mut self, tracker: Tracker) -> Self {
        self.trackers.push(tracker);
        self
    }

    /// Declares the events that the service publishes in addition to those of its steps and those that its handlers return.
    pub fn publishes<E: EventSet>(mut self) -> Self {
        self.publishes.extend(E::types());
        self
    }
}
