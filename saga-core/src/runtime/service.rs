//! A service: a name, a database, handlers, and what they share.

use crate::{
    handler::Handler,
    id::IdSource,
    runtime::{Unavailable, UnitOfWork, health::Health, metrics::Metrics},
    settings::Settings,
    store::{Database, DeadLetter, DeadLetterId, Migration, StoreError},
    time::Clock,
};

/// A service, before it runs.
pub struct Service {}

impl Service {
    /// A service called `name` (its consumer group and the `ce_source` of what it publishes) on `database`.
    pub fn new(_name: impl Into<String>, _database: Database) -> Self {
        todo!()
    }

    /// Adds handlers: `handlers![reserve, release]`.
    #[must_use]
    pub fn handlers(self, _handlers: impl IntoIterator<Item = Handler>) -> Self {
        todo!()
    }

    /// Shares `value` with the handlers, which take it as `State<T>`.
    #[must_use]
    pub fn state<T: Clone + Send + Sync + 'static>(self, _value: T) -> Self {
        todo!()
    }

    /// Brings the service's own tables into shape when the app starts.
    #[must_use]
    pub fn migrations(self, _migrations: &'static [Migration]) -> Self {
        todo!()
    }

    /// Replaces the limits.
    #[must_use]
    pub fn settings(self, _settings: Settings) -> Self {
        todo!()
    }

    /// Serves `routes`, and beside them health, metrics and dead letters, on the address given to [`listen`](Self::listen).
    #[cfg(feature = "http")]
    #[must_use]
    pub fn routes(self, _routes: impl FnOnce(ServiceHandle) -> axum::Router + Send + 'static) -> Self {
        todo!()
    }

    /// Listens on `listener`, bound by the caller (so that a taken port is known before anything starts).
    #[cfg(feature = "http")]
    #[must_use]
    pub fn listen(self, _listener: std::net::TcpListener) -> Self {
        todo!()
    }

    /// Runs `job` beside the handlers, as long as the app runs.
    #[must_use]
    pub fn job<F, Fut>(self, _job: F) -> Self
    where
        F: FnOnce(ServiceHandle) -> Fut + Send + 'static,
        Fut: std::future::Future<Output = ()> + Send + 'static,
    {
        todo!()
    }
}

/// A running service, for what happens outside its handlers. Cheap to clone.
#[derive(Clone)]
pub struct ServiceHandle {}

impl ServiceHandle {
    /// The service's name.
    pub fn name(&self) -> &str {
        todo!()
    }

    /// The service's database, for reading.
    pub fn database(&self) -> &Database {
        todo!()
    }

    /// The app's clock.
    pub fn clock(&self) -> &Clock {
        todo!()
    }

    /// The app's source of identities.
    pub fn ids(&self) -> &IdSource {
        todo!()
    }

    /// The service's metrics.
    pub fn metrics(&self) -> &Metrics {
        todo!()
    }

    /// The service's health.
    pub fn health(&self) -> &Health {
        todo!()
    }

    /// Begins a transaction that writes rows and publishes events together.
    ///
    /// # Errors
    /// When the database gives none within [`Settings::begin_timeout_ms`], or the outbox is full.
    pub async fn begin(&self) -> Result<UnitOfWork, Unavailable> {
        todo!()
    }

    /// Dead letters that are open, newest first, and how many there are in all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dead_letters(&self, _offset: u64, _limit: u32) -> Result<(Vec<DeadLetter>, u64), StoreError> {
        todo!()
    }

    /// One dead letter.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dead_letter(&self, _id: &DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        todo!()
    }

    /// Gives an open dead letter back to its handler, with its attempts counted anew; false when it is not there or not open.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn retry_dead_letter(&self, _id: &DeadLetterId) -> Result<bool, StoreError> {
        todo!()
    }

    /// Gives up an open dead letter; false when it is not there or not open.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn discard_dead_letter(&self, _id: &DeadLetterId) -> Result<bool, StoreError> {
        todo!()
    }
}
