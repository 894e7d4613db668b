//! An app: services on one transport.

use std::sync::Arc;

use crate::{
    id::IdSource,
    runtime::{Service, ServiceHandle},
    time::Clock,
    transport::Transport,
};

/// Services that run together.
pub struct App {}

/// Why an app did not start: every problem found, one a line.
#[derive(Debug, thiserror::Error)]
#[error("the app cannot start:\n{}", .problems.join("\n"))]
pub struct StartError {
    /// The problems.
    pub problems: Vec<String>,
}

impl App {
    /// An app called `name`.
    pub fn new(_name: impl Into<String>) -> Self {
        todo!()
    }

    /// Adds a service.
    #[must_use]
    pub fn service(self, _service: Service) -> Self {
        todo!()
    }

    /// Adds services.
    #[must_use]
    pub fn services(self, _services: impl IntoIterator<Item = Service>) -> Self {
        todo!()
    }

    /// Replaces the clock.
    #[must_use]
    pub fn clock(self, _clock: Clock) -> Self {
        todo!()
    }

    /// Replaces the source of identities and of randomness.
    #[must_use]
    pub fn ids(self, _ids: IdSource) -> Self {
        todo!()
    }

    /// Checks everything, then runs the services on `transport` until the handle stops them.
    ///
    /// # Errors
    /// When the services contradict themselves or each other, or a database or the transport cannot be used.
    pub async fn start(self, _transport: Arc<dyn Transport>) -> Result<Handle, StartError> {
        todo!()
    }
}

/// A running app.
pub struct Handle {}

impl Handle {
    /// The running service called `name`.
    pub fn service(&self, _name: &str) -> Option<&ServiceHandle> {
        todo!()
    }

    /// The address that the service called `name` listens on.
    pub fn address(&self, _name: &str) -> Option<std::net::SocketAddr> {
        todo!()
    }

    /// Waits until nothing is left to do but what waits for its time: every published record was handled and every outbox is
    /// empty.
    pub async fn quiet(&self) {
        todo!()
    }

    /// Stops: takes nothing new, finishes what is running within [`Settings::stop_timeout_ms`](crate::settings::Settings),
    /// commits, closes. Says whether everything ended in time.
    pub async fn stop(self) -> bool {
        todo!()
    }
}
