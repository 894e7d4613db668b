//! A service: a name, a database, handlers, and what they share.

use std::{any::type_name, future::Future, pin::Pin, sync::Arc, time::Duration};

#[cfg(feature = "http")]
use super::{Routes, operators::Operators};
use super::{
    core::Core,
    dead_letters,
    replays::{self, PlannedReplay, ReplayError, ReplayRequest},
};
use crate::{
    extract::{Extract, Requirements},
    failure::Fault,
    handler::{Handler, Invocation, StateMap},
    id::IdSource,
    message::{EventSet, EventType},
    runtime::{Health, Metrics, Sagas, SettledLetters, Tracker, Unavailable, UnitOfWork},
    settings::Settings,
    store::{
        Database, DeadLetter, DeadLetterFilter, DeadLetterId, LetterSummary, Migration, Replay, ReplayId, Settle, StoreError,
    },
    time::{Clock, Timestamp},
};

pub(crate) type Job = Box<dyn Fn(ServiceHandle) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;
#[cfg(feature = "http")]
type MakeRoutes = Box<dyn FnOnce(ServiceHandle) -> Routes + Send>;

/// A service, before it runs.
pub struct Service {
    pub(crate) name: String,
    pub(crate) database: Database,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) state: StateMap,
    pub(crate) migrations: &'static [Migration],
    pub(crate) settings: Settings,
    pub(crate) jobs: Vec<Job>,
    pub(crate) trackers: Vec<Tracker>,
    /// What is published besides what handlers return.
    pub(crate) publishes: Vec<EventType>,
    /// Mistakes of the builder's caller, told when the app starts.
    pub(crate) problems: Vec<String>,
    #[cfg(feature = "http")]
    pub(crate) routes: Option<MakeRoutes>,
    #[cfg(feature = "http")]
    pub(crate) prefix: Option<String>,
    #[cfg(feature = "http")]
    pub(crate) listener: Option<std::net::TcpListener>,
    #[cfg(feature = "http")]
    pub(crate) operator_token: Option<String>,
    #[cfg(feature = "http")]
    pub(crate) public_names: Vec<String>,
}

impl Service {
    /// A service called `name` (its consumer group and the `ce_source` of what it publishes) on `database`.
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
            #[cfg(feature = "http")]
            routes: None,
            #[cfg(feature = "http")]
            prefix: None,
            #[cfg(feature = "http")]
            listener: None,
            #[cfg(feature = "http")]
            operator_token: None,
            #[cfg(feature = "http")]
            public_names: Vec::new(),
        }
    }

    /// Adds handlers: `handlers![reserve, release]`.
    #[must_use]
    pub fn handlers(mut self, handlers: impl IntoIterator<Item = Handler>) -> Self {
        self.handlers.extend(handlers);
        self
    }

    /// Keeps the instances of a flow here: of the flow that this service begins, and whose pivot and abort it handles.
    #[must_use]
    pub fn tracks(mut self, tracker: Tracker) -> Self {
        self.trackers.push(tracker);
        self
    }

    /// Says that the service publishes these events outside its handlers, in a [`UnitOfWork`], for the check of an app that
    /// carries a saga. The event that begins a tracked flow need not be said.
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

    /// Brings the service's own tables into shape when the app starts.
    #[must_use]
    pub fn migrations(mut self, migrations: &'static [Migration]) -> Self {
        self.migrations = migrations;
        self
    }

    /// Replaces the limits.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Serves `routes`, an axum router, and beside them health, metrics and dead letters, on the address given to
    /// [`listen`](Self::listen); an app whose service has routes and does not listen does not start, but for a test pump, which serves
    /// nothing. With the feature `openapi` routes can be described where they are made; see `http::openapi`.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn routes<R: Into<Routes>>(mut self, routes: impl FnOnce(ServiceHandle) -> R + Send + 'static) -> Self {
        self.routes = Some(Box::new(|service| routes(service).into()));
        self
    }

    /// Serves everything, its own routes and what stands beside them, under `prefix` too: with `/api/v1`, `/health` is also
    /// `/api/v1/health`.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn also_under(mut self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        let segments = prefix.strip_prefix('/').map(|path| path.split('/').collect::<Vec<_>>()).unwrap_or_default();
        let plain = |segment: &&str| {
            !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
        };
        if segments.is_empty() || !segments.iter().all(plain) {
            let service = &self.name;
            self.problems.push(format!("service `{service}`: `{prefix}` is no prefix for routes; write it like `/api/v1`"));
        } else {
            self.prefix = Some(prefix);
        }
        self
    }

    /// Listens on `listener`, bound by the caller (so that a taken port is known before anything starts).
    #[cfg(feature = "http")]
    #[must_use]
    pub fn listen(mut self, listener: std::net::TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Admits operators who send this token, in `Authorization: Bearer`, to what reads messages or acts: dead letters, flows, replays,
    /// and what the service guards itself. On a loopback address nobody needs it who asks for that address, for `localhost` or for the
    /// service's [`public_name`](Self::public_name); on any other address these routes are not there without it.
    /// A service that does not [`listen`](Self::listen) itself asks for it wherever it was given one, and else lets everybody in. It is
    /// 16 visible ASCII characters at least.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn operator_token(mut self, token: impl Into<String>) -> Self {
        let token = token.into();
        if token.len() >= 16 && token.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.operator_token = Some(token);
        } else {
            let service = &self.name;
            self.problems
                .push(format!("service `{service}`: the operator's token has to be 16 visible ASCII characters or more"));
        }
        self
    }

    /// Runs `job` beside the handlers. It is ended when the app stops, wherever it is. One that panics is called again, after growing
    /// waits; one that returns has ended.
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
    /// Without the routes that nobody could call: those of a service that does not listen.
    #[cfg(feature = "test-util")]
    pub(crate) fn unserved(self) -> Self {
        #[cfg(feature = "http")]
        if self.listener.is_none() {
            return Self { routes: None, prefix: None, ..self };
        }
        self
    }

    /// Adds the handlers of the framework's own: what follows the flows that are tracked here, and what an operator of a flow can
    /// ask a participant for.
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

/// A running service, for what happens outside its handlers. Cheap to clone.
#[derive(Clone)]
pub struct ServiceHandle {
    core: Arc<Core>,
    /// Given to a handler whose delivery holds a transaction: on a database with one writer, another would wait for it.
    held: bool,
}

impl ServiceHandle {
    /// The handle of `core` for whoever holds no transaction.
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self { core: core.clone(), held: false }
    }

    /// The handle of `core` for a handler whose delivery holds a transaction.
    pub(crate) fn within_a_transaction(core: &Arc<Core>) -> Self {
        Self { core: core.clone(), held: true }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The service's name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// The service's database, for reading.
    pub fn database(&self) -> &Database {
        &self.core.database
    }

    /// The service's clock: what is decided by time in the service is decided by this one. Where processes share its database, they
    /// share this clock.
    pub fn clock(&self) -> &Clock {
        &self.core.clock
    }

    /// The time before which everything that this service wrote is surely older than `retention`, by [`clock`](Self::clock): for
    /// removing what was kept long enough. A stop of more than an hour does not count, for the clock may have been set meanwhile.
    pub fn older_than(&self, retention: Duration) -> Timestamp {
        self.core.older_than(retention)
    }

    /// The app's source of identities.
    pub fn ids(&self) -> &IdSource {
        &self.core.ids
    }

    /// The service's metrics, for series of its own.
    pub fn metrics(&self) -> &Metrics {
        &self.core.metrics
    }

    /// The service's health, for checks of its own.
    pub fn health(&self) -> &Health {
        &self.core.health
    }

    /// Who may use the service's routes that read messages or act.
    #[cfg(feature = "http")]
    pub fn operators(&self) -> &Operators {
        &self.core.operators
    }

    /// Begins a transaction that writes rows and publishes events together.
    ///
    /// # Errors
    /// When the database gives none within [`Settings::begin_timeout_ms`], or the outbox is full. Always, in a handler whose
    /// delivery holds a transaction (every one that does not take [`Work`](crate::extract::Work)): a technical error of that
    /// handler.
    pub async fn begin(&self) -> Result<UnitOfWork, Unavailable> {
        match self.held {
            true => Err(Unavailable { reason: HELD.to_owned(), outage: false }),
            false => UnitOfWork::begin(&self.core).await,
        }
    }

    /// The instances of the flows that the service tracks.
    pub fn sagas(&self) -> Sagas {
        Sagas(self.core.clone())
    }

    /// Dead letters that are open, newest first, without the first `offset`, at most `limit`; and how many there are in all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dead_letters(&self, offset: u64, limit: u32) -> Result<(Vec<DeadLetter>, u64), StoreError> {
        self.core.store().dead_letters(&self.core.name, offset, limit).await
    }

    /// One dead letter, whatever became of it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dead_letter(&self, id: &DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.core.store().dead_letter(&self.core.name, id).await
    }

    /// Gives an open dead letter back to its handler, with its attempts counted anew; false when it is not there or not open.
    ///
    /// # Delivery
    /// The message is parked, due at once, behind whatever else of its key is parked.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn retry_dead_letter(&self, id: &DeadLetterId) -> Result<bool, StoreError> {
        if self.held {
            return Err(StoreError::Refused(HELD.to_owned()));
        }
        let (core, id) = (self.core.clone(), id.clone());
        finished(tokio::spawn(async move { dead_letters::one(&core, Settle::Retry, &id).await })).await
    }

    /// What a replay would read, partition by partition; nothing is done.
    ///
    /// # Errors
    /// When the range is not in the log or too large, or log or database cannot be read.
    pub async fn plan_replay(&self, request: &ReplayRequest) -> Result<Vec<PlannedReplay>, ReplayError> {
        replays::plan(&self.core, request).await
    }

    /// Has a range of a topic read once more, by whichever instances of the service own its partitions.
    ///
    /// # Delivery
    /// Records of the range come again, those of a key in order. What the inbox knows has no effect, unless the request says
    /// [`again`](ReplayRequest::again): then it is handled again, with all effects, and what it publishes has new identities. What a
    /// step of a flow has done is not done again, and what is parked is handled once. Afterwards a partition is read on from where
    /// it was before. Records of all other keys of the partition wait as long as the range is read.
    ///
    /// # Errors
    /// As [`plan_replay`](Self::plan_replay), and when a replay of one of the partitions has not ended. Those that were asked for
    /// before that one then stay.
    pub async fn replay(&self, request: &ReplayRequest) -> Result<Vec<PlannedReplay>, ReplayError> {
        replays::ask(&self.core, request).await
    }

    /// Replays, newest first, at most `limit`; with `open` those only that have not ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn replays(&self, open: bool, limit: u32) -> Result<Vec<Replay>, StoreError> {
        self.core.store().replays().list(&self.core.name, open, limit).await
    }

    /// Ends a replay before its range does; false when it is not there or has ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn cancel_replay(&self, id: &ReplayId) -> Result<bool, StoreError> {
        replays::stop(&self.core, id).await
    }

    /// Gives up an open dead letter; false when it is not there or not open.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn discard_dead_letter(&self, id: &DeadLetterId) -> Result<bool, StoreError> {
        if self.held {
            return Err(StoreError::Refused(HELD.to_owned()));
        }
        let (core, id) = (self.core.clone(), id.clone());
        finished(tokio::spawn(async move { dead_letters::one(&core, Settle::Discard, &id).await })).await
    }

    /// The dead letters that `filter` wants, without their values, newest first, without the first `offset`, at most `limit`; and
    /// how many there are in all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_dead_letters(
        &self,
        filter: &DeadLetterFilter,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<LetterSummary>, u64), StoreError> {
        self.core.store().find_dead_letters(&self.core.name, filter, offset, limit).await
    }

    /// Gives at most `limit` of the open dead letters that `filter` wants back to their handlers, with their attempts counted anew.
    ///
    /// # Delivery
    /// In transactions of a few hundred letters, in the order of topics, partitions and offsets. The messages are parked, due at once,
    /// behind whatever else of their keys is parked. A letter that comes meanwhile, also by failing again, is left alone.
    ///
    /// # Errors
    /// When the database is unavailable. Transactions before stand; the same call goes on with what is left.
    pub async fn retry_dead_letters(&self, filter: &DeadLetterFilter, limit: u64) -> Result<SettledLetters, StoreError> {
        self.settle_dead_letters(Settle::Retry, filter, limit).await
    }

    /// Gives up at most `limit` of the open dead letters that `filter` wants; keys that are held for them go on.
    ///
    /// # Errors
    /// As [`retry_dead_letters`](Self::retry_dead_letters).
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

/// Why a handler that holds a transaction gets no second one.
const HELD: &str = "the delivery of this handler holds a transaction, and a second one would wait for it: \
                    write in the handler's `Tx`, or take `Work` instead and begin before `work.begin()`";

/// What the task comes to. It ends even when nobody waits for it any more: half an operation would leave the index of parked
/// keys behind the database.
async fn finished<T>(task: tokio::task::JoinHandle<Result<T, StoreError>>) -> Result<T, StoreError> {
    task.await.unwrap_or_else(|panic| Err(StoreError::Unavailable(format!("the operation did not end: {panic}"))))
}

impl std::fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ServiceHandle").field(&self.core.name).finish()
    }
}

/// For what a handler does besides its delivery: reading outside the transaction, or a transaction of its own before that of the
/// delivery begins ([`Work`](crate::extract::Work)).
impl Extract for ServiceHandle {
    fn require(_: &mut Requirements) {}

    fn extract(from: &mut Invocation) -> Result<Self, Fault> {
        let service = from.service.take().and_then(|service| service.downcast::<Self>().ok());
        service
            .map(|service| *service)
            .ok_or_else(|| Fault::new("the delivery has no service for this handler; is it taken twice?"))
    }
}
