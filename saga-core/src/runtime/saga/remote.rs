//! Services that take part in a flow from other processes.

use crate::{
    handler::Handler,
    message::{EventSet, EventType},
    runtime::Tracker,
};

/// A service that runs in another process, as far as the check of a flow needs it.
#[derive(Debug)]
#[must_use = "give it to `App::remote`"]
pub struct Remote {
    pub(crate) name: String,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) trackers: Vec<Tracker>,
    pub(crate) publishes: Vec<EventType>,
}

impl Remote {
    /// The service called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), handlers: Vec::new(), trackers: Vec::new(), publishes: Vec::new() }
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

    /// It publishes these events besides what its handlers return.
    pub fn publishes<E: EventSet>(mut self) -> Self {
        self.publishes.extend(E::types());
        self
    }
}
