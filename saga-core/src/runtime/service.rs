//! A service: a name, a database, handlers, and the state that they share.

use std::{any::type_name, collections::HashSet, future::Future, pin::Pin, sync::Arc, time::Duration};

mod server;

use super::{
    core::Core,
    dead_letters,
    replays::{self, PlannedReplay, ReplayError, ReplayRequest},
    spans::RequestSpan,
};
use crate::{
    extract::{Extract, Invocation, Requirements, StateMap},
    failure::Fault,
    handler::Handler,
    id::IdSource,
    message::{EventSet, EventType, TraceContext},
    runtime::{Correlation, Health, Metrics, Sagas, SettledLetters, Tracker, Unavailable, UnitOfWork},
    settings::Settings,
    store::{
        self, Database, DeadLetter, DeadLetterFilter, DeadLetterId, LetterSummary, Migration, Replay, ReplayId, Settle,
        StoreError,
    },
    time::{Clock, Timestamp},
};

pub(crate) use self::server::Servers;
pub use self::server::{Server, ServerTask};

pub(crate) type Job = Box<dyn Fn(ServiceHandle) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A service that has not been started.
pub struct Service {
    pub(crate) name: String,
    pub(crate) database: Database,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) state: StateMap,
    pub(crate) migrations: &'static [Migration],
    pub(crate) settings: Settings,
    pub(crate) jobs: Vec<Job>,
    pub(crate) trackers: Vec<Tracker>,
    /// The events that are published in addition to those that handlers return.
    pub(crate) publishes: Vec<EventType>,
    /// Mistakes in the calls of this builder. They are reported when the app starts.
    pub(crate) problems: Vec<String>,
    pub(crate) servers: Servers,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Service {
    /// Creates a service called `name` on `database`. The name is also that of its consumer group and the `ce_source` of its events.
    pub fn new(name: impl Into<String>, database: Database) -> Self {
        Self {
            name: name.into(),
            database,
            handlers: Vec::new(),
            state: StateMap::default(),
            migrations: &[],
            settings: Settings::default(),
            jobs: Vec::new(),
            trackers: Vec::new(),
            publishes: Vec::new(),
            problems: Vec::new(),
            servers: Servers::default(),
        }
    }

    /// Adds handlers: `handlers![reserve, release]`.
    #[must_use]
    pub fn handlers(mut self, handlers: impl IntoIterator<Item = Handler>) -> Self {
        self.handlers.extend(handlers);
        self
    }

    /// Tracks the instances of a saga. The service must be the one that begins the saga and handles its pivot and its abort.
    #[must_use]
    pub fn tracks(mut self, tracker: Tracker) -> Self {
        self.trackers.push(tracker);
        self
    }

    /// Declares events that the service publishes outside its handlers, in a [`UnitOfWork`] or with a `Publisher`.
    ///
    /// Their topics are created or checked at the start, as for the events of handlers, and the check of a saga takes them into account.
    /// The event that begins a tracked saga needs no declaration.
    #[must_use]
    pub fn publishes<E: EventSet>(mut self) -> Self {
        self.publishes.extend(E::types());
        self
    }

    /// Shares `value` with the handlers, which take it as `State<T>`.
    #[must_use]
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        match self.state.with(value) {
            Ok(state) => self.state = state,
            Err(state) => {
                self.state = state;
                let (service, name) = (&self.name, type_name::<T>());
                self.problems.push(format!("service `{service}`: two values of type `{name}` are shared; wrap one in a type"));
            }
        }
        self
    }

    /// Like [`state`](Self::state), for a [`Server`] that configures the service. It replaces a value of the same type.
    pub fn set_state<T: Send + Sync + 'static>(&mut self, value: T) {
        self.state.set(value);
    }

    /// Runs the migrations of the service's own tables when the app starts. A service without migrations leaves its tables to another
    /// tool, and does not check which of its migrations have run. A [`Database::memory`] has no SQL: there, only the numbers of the
    /// migrations are checked.
    #[must_use]
    pub fn migrations(mut self, migrations: &'static [Migration]) -> Self {
        self.migrations = migrations;
        self
    }

    /// Replaces the settings.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Runs `job` in parallel with the handlers, as long as the service runs. A job that panics is called again after increasing waits. A
    /// job that returns is not called again. When the app stops, the job's future is dropped at its current await point.
    #[must_use]
    pub fn job<F, Fut>(mut self, job: F) -> Self
    where
        F: Fn(ServiceHandle) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.jobs.push(Box::new(move |service| Box::pin(job(service))));
        self
    }
}

impl Service {
    /// Removes the servers without a listener, which no client could reach.
    #[cfg(feature = "test-util")]
    pub(crate) fn without_unreachable_servers(mut self) -> Self {
        self.servers.retain_reachable();
        self
    }

    /// Adds the framework's own handlers: the ones that track sagas, and the one that retries a participant's dead letters on request of a
    /// saga's operator.
    pub(crate) fn with_saga_handlers(mut self) -> Self {
        let takes_part = self.handlers.iter().any(|handler| handler.role().is_some());
        for at in 0..self.trackers.len() {
            let follower = self.trackers[at].handler(&self.handlers);
            self.handlers.extend(follower);
        }
        if takes_part {
            self.handlers.push(super::saga::retry_dead_letters());
        }
        self
    }
}

/// A handle to a running service, for code outside its handlers. It is cheap to clone.
#[derive(Clone)]
pub struct ServiceHandle {
    core: Arc<Core>,
    /// Set in a handler if its delivery has an open transaction: on a database with one writer, a second transaction would deadlock with
    /// it.
    held: bool,
}

impl ServiceHandle {
    /// Returns a handle for a caller that has no open transaction.
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self { core: core.clone(), held: false }
    }

    /// Returns a handle for a handler with an open transaction.
    pub(crate) fn within_a_transaction(core: &Arc<Core>) -> Self {
        Self { core: core.clone(), held: true }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Returns the service's name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Returns the service's database, for reading.
    pub fn database(&self) -> &Database {
        &self.core.database
    }

    /// Returns the settings of the service.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// Returns the value of type `T` that the service shares with its handlers ([`Service::state`]), if there is one.
    pub fn state<T: 'static>(&self) -> Option<&T> {
        self.core.state.value()
    }

    /// Returns the service's clock, which the service uses for all decisions about time. Processes that share a database share this clock.
    pub fn clock(&self) -> &Clock {
        &self.core.clock
    }

    /// Returns the time before which everything that this service has written is certainly older than `retention`, by
    /// [`clock`](Self::clock). Use it to remove data at the end of its retention.
    ///
    /// A period of more than an hour in which the service did not run is not counted, because the clock could have been changed meanwhile.
    pub fn older_than(&self, retention: Duration) -> Timestamp {
        self.core.older_than(retention)
    }

    /// Returns the app's source of ids.
    pub fn ids(&self) -> &IdSource {
        &self.core.ids
    }

    /// Returns the service's metrics, to add series.
    pub fn metrics(&self) -> &Metrics {
        &self.core.metrics
    }

    /// Returns the service's health, to add checks.
    pub fn health(&self) -> &Health {
        &self.core.health
    }

    /// Begins a transaction that writes rows and publishes events together.
    ///
    /// # Errors
    /// If the database provides no transaction within [`Settings::begin_timeout_ms`], or if the outbox is full. Always in a handler with an
    /// open transaction, which is every handler that does not take [`Work`](crate::extract::Work); this is a technical error of that
    /// handler.
    pub async fn begin(&self) -> Result<UnitOfWork, Unavailable> {
        match self.held {
            true => Err(Unavailable { reason: HELD.to_owned(), outage: false }),
            false => UnitOfWork::begin(&self.core).await,
        }
    }

    /// Begins a transaction, as [`begin`](Self::begin) does. Its events carry the correlation id and the trace of `request`: a
    /// [`Correlation`], or what a crate with a server has for its requests.
    ///
    /// # Errors
    /// The same as [`begin`](Self::begin).
    pub async fn begin_for(&self, request: impl Into<Correlation>) -> Result<UnitOfWork, Unavailable> {
        let Correlation { id, trace } = request.into();
        let mut work = self.begin().await?;
        if let Some(id) = id {
            work.correlate(id);
        }
        work.trace(trace);
        Ok(work)
    }

    /// Begins the span of a request that a [`Server`] handles, within the span of its `caller` if the request names one.
    ///
    /// A request that `is_probe` and names no caller begins no trace, because probes are frequent.
    pub fn begin_request_span(&self, caller: Option<&TraceContext>, is_probe: bool) -> RequestSpan {
        RequestSpan::begin(&self.core, caller, is_probe)
    }

    /// Returns a publisher, which publishes events in transactions that the caller has begun on its own connection pool.
    #[cfg(feature = "sql")]
    pub fn publisher(&self) -> super::Publisher {
        super::Publisher::new(&self.core)
    }

    /// Returns the instances of the sagas that the service tracks.
    pub fn sagas(&self) -> Sagas {
        Sagas(self.core.clone())
    }

    /// Returns open dead letters, newest first, at most `limit` after the first `offset`, and the total number of open dead letters.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn dead_letters(&self, offset: u64, limit: u32) -> Result<(Vec<DeadLetter>, u64), StoreError> {
        self.core.store().dead_letters(&self.core.name, offset, limit).await
    }

    /// Returns one dead letter, open or settled.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn dead_letter(&self, id: &DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.core.store().dead_letter(&self.core.name, id).await
    }

    /// Delivers an open dead letter to its [handler](DeadLetter::handler) again, with its attempts counted from zero. A dead letter without
    /// a handler is delivered to every handler that takes it. Returns false if it does not exist or is not open.
    ///
    /// # Delivery
    /// The message is parked with its next attempt due now, behind other parked messages of its key.
    ///
    /// # Errors
    /// If the database is unavailable, or if the caller is a handler with an open transaction.
    pub async fn retry_dead_letter(&self, id: &DeadLetterId) -> Result<bool, StoreError> {
        if self.held {
            return Err(StoreError::Refused(HELD.to_owned()));
        }
        let (core, id) = (self.core.clone(), id.clone());
        finished(tokio::spawn(async move { dead_letters::one(&core, Settle::Retry, &id).await })).await
    }

    /// Returns what a replay would read, for each partition, and starts nothing.
    ///
    /// # Errors
    /// If the range is not in the log or is too large, or if the log or the database cannot be read.
    pub async fn plan_replay(&self, request: &ReplayRequest) -> Result<Vec<PlannedReplay>, ReplayError> {
        replays::plan(&self.core, request).await
    }

    /// Requests a replay of a range of a topic. Each of its partitions is replayed by the process that owns it.
    ///
    /// # Delivery
    /// The records of the range are delivered again, in order for each key. A message that the inbox contains is skipped, unless the
    /// request sets [`again`](ReplayRequest::again): then it is handled again with all its effects, and the events that it publishes have
    /// new ids. A step of a saga that is done is not done again, and a parked message is handled once. Afterwards the partition continues
    /// where it was before the replay. While the range is read, all other records of the partition wait.
    ///
    /// # Errors
    /// As for [`plan_replay`](Self::plan_replay), and if a partition has a replay that has not ended. The replays that were requested for
    /// the partitions before that one remain.
    pub async fn replay(&self, request: &ReplayRequest) -> Result<Vec<PlannedReplay>, ReplayError> {
        replays::ask(&self.core, request).await
    }

    /// Returns replays, newest first, at most `limit`; if `open` is true, only those that have not ended.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn replays(&self, open: bool, limit: u32) -> Result<Vec<Replay>, StoreError> {
        self.core.store().replays().list(&self.core.name, open, limit).await
    }

    /// Ends a replay early. Returns false if it does not exist or has ended.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn cancel_replay(&self, id: &ReplayId) -> Result<bool, StoreError> {
        replays::stop(&self.core, id).await
    }

    /// Settles an open dead letter without another attempt. Returns false if it does not exist or is not open.
    ///
    /// # Errors
    /// If the database is unavailable, or if the caller is a handler with an open transaction.
    pub async fn discard_dead_letter(&self, id: &DeadLetterId) -> Result<bool, StoreError> {
        if self.held {
            return Err(StoreError::Refused(HELD.to_owned()));
        }
        let (core, id) = (self.core.clone(), id.clone());
        finished(tokio::spawn(async move { dead_letters::one(&core, Settle::Discard, &id).await })).await
    }

    /// Returns the dead letters that match `filter`, without their values, newest first, at most `limit` after the first `offset`, and the
    /// total number that match.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn find_dead_letters(
        &self,
        filter: &DeadLetterFilter,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<LetterSummary>, u64), StoreError> {
        self.core.store().find_dead_letters(&self.core.name, filter, offset, limit).await
    }

    /// Returns those of `letters` that hold their keys: further messages of the key wait until the dead letter is settled.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn holding_letters(&self, letters: &[LetterSummary]) -> Result<HashSet<DeadLetterId>, StoreError> {
        store::holding_letters(&**self.core.store(), &self.core.name, letters).await
    }

    /// Delivers at most `limit` of the open dead letters that match `filter` to their handlers again, with their attempts counted from
    /// zero.
    ///
    /// # Delivery
    /// This uses transactions of a few hundred dead letters each, in the order of topics, partitions and offsets. The messages are parked
    /// with their next attempt due now, behind other parked messages of their keys. Dead letters that are added during the call, also by
    /// another failure of a retried message, are not included.
    ///
    /// # Errors
    /// If the database is unavailable, or if the caller is a handler with an open transaction. The transactions that were already committed
    /// remain; the same call continues with the rest.
    pub async fn retry_dead_letters(&self, filter: &DeadLetterFilter, limit: u64) -> Result<SettledLetters, StoreError> {
        self.settle_dead_letters(Settle::Retry, filter, limit).await
    }

    /// Discards at most `limit` of the open dead letters that match `filter`. Keys that these dead letters hold continue.
    ///
    /// # Errors
    /// The same as [`retry_dead_letters`](Self::retry_dead_letters).
    pub async fn discard_dead_letters(&self, filter: &DeadLetterFilter, limit: u64) -> Result<SettledLetters, StoreError> {
        self.settle_dead_letters(Settle::Discard, filter, limit).await
    }

    async fn settle_dead_letters(
        &self,
        how: Settle,
        filter: &DeadLetterFilter,
        limit: u64,
    ) -> Result<SettledLetters, StoreError> {
        if self.held {
            return Err(StoreError::Refused(HELD.to_owned()));
        }
        let (core, filter) = (self.core.clone(), filter.clone());
        finished(tokio::spawn(async move { dead_letters::all(&core, how, &filter, limit).await })).await
    }
}

/// The error for a handler that has an open transaction and requests a second one.
const HELD: &str = "the delivery of this handler holds a transaction, and a second one would wait for it: \
                    write in the handler's `Tx`, or take `Work` instead and begin before `work.begin()`";

/// Waits for the result of `task`. The task continues even if the caller stops waiting: an operation that ends half-way would leave the
/// index of parked keys inconsistent with the database.
async fn finished<T>(task: tokio::task::JoinHandle<Result<T, StoreError>>) -> Result<T, StoreError> {
    task.await.unwrap_or_else(|panic| Err(StoreError::Unavailable(format!("the operation did not end: {panic}"))))
}

impl std::fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ServiceHandle").field(&self.core.name).finish()
    }
}

/// For work of a handler outside the transaction of its delivery: reads, or a separate transaction that commits before the transaction of
/// the delivery begins ([`Work`](crate::extract::Work)).
impl Extract for ServiceHandle {
    fn require(_: &mut Requirements) {}

    fn extract(from: &mut Invocation) -> Result<Self, Fault> {
        let service = from.service.take().and_then(|service| service.downcast::<Self>().ok());
        service
            .map(|service| *service)
            .ok_or_else(|| Fault::new("the delivery has no service for this handler; is it taken twice?"))
    }
}
