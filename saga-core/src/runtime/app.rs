//! An app: services on one transport.

#[cfg(feature = "http")]
use std::sync::Mutex;
use std::{collections::BTreeMap, net::SocketAddr, pin::pin, sync::Arc};

use futures_core::future::BoxFuture;
use tokio::{sync::watch, task::JoinSet};

use super::{
    consumer,
    core::Core,
    fence::Stop,
    logs, lookout,
    panics::{Task, supervise},
    relay::{self, Relay},
    replays, saga,
    spans::{self, Destination},
    start,
    stop_signal::stop_signal,
    timekeeper::{self, Timekeeper},
    upkeep,
};
use crate::{
    handler::Handler,
    id::IdSource,
    message::{EventSet, EventType},
    runtime::{Metrics, Remote, Service, ServiceHandle, Tracker},
    saga::{Chart, Definition, Saga},
    store::{Migration, Store, StoreError},
    time::Clock,
    transport::{TopicExpectation, Transport},
};

/// How long [`App::run`] waits for the transport to close, once the services have stopped.
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// How long a stop waits for the collector of traces, at most; an eighth of its time if that is less.
const FLUSH: std::time::Duration = std::time::Duration::from_secs(2);

/// Services that run together.
pub struct App {
    name: String,
    services: Vec<Service>,
    clock: Clock,
    ids: IdSource,
    remotes: Vec<Remote>,
    sagas: Vec<Arc<Definition>>,
    outside: Vec<EventType>,
    spans: Destination,
}

/// Why an app did not start: every problem found, one a line.
#[derive(Debug, thiserror::Error)]
#[error("the app `{app}` cannot start:\n{}", .problems.join("\n"))]
#[non_exhaustive]
pub struct StartError {
    /// The app.
    pub app: String,
    /// The problems.
    pub problems: Vec<String>,
}

impl App {
    /// An app called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            services: Vec::new(),
            clock: Clock::system(),
            ids: IdSource::random(),
            remotes: Vec::new(),
            sagas: Vec::new(),
            outside: Vec::new(),
            spans: Destination::default(),
        }
    }

    /// Adds a service.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// Adds services.
    #[must_use]
    pub fn services(mut self, services: impl IntoIterator<Item = Service>) -> Self {
        self.services.extend(services);
        self
    }

    /// Has the whole flow `S` checked, together with what is declared as [`remote`](Self::remote): each step has one handler, each event
    /// that is published has a consumer, and each event that a handler waits for has a publisher. Without it an app is checked for what its
    /// own services do in the flow, whose other steps may be anywhere.
    #[must_use]
    pub fn saga<S: Saga>(mut self) -> Self {
        self.sagas.push(Arc::new(S::definition()));
        self
    }

    /// Declares a service that runs in another process.
    #[must_use]
    pub fn remote(mut self, remote: Remote) -> Self {
        self.remotes.push(remote);
        self
    }

    /// Says that others, who are no part of the app, publish these events or take them.
    #[must_use]
    pub fn outside<E: EventSet>(mut self) -> Self {
        self.outside.extend(E::types());
        self
    }

    /// Replaces the clock: the one of which each service makes its own, which goes by its database where processes share that, and by
    /// the machine's monotonic clock ([`Clock`]).
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Replaces the source of identities and of randomness.
    #[must_use]
    pub fn ids(mut self, ids: IdSource) -> Self {
        self.ids = ids;
        self
    }

    /// Tells what happens to messages and requests as spans of OpenTelemetry. Nothing waits for a collector, and nothing ends for want of
    /// one. The page `tracing` of the guide says what spans there are.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn traces(mut self, traces: crate::runtime::Traces) -> Self {
        self.spans = Destination::from(traces);
        self
    }

    /// What is wrong with the app, as far as that can be said without its databases and its transport; empty when nothing is.
    pub fn check(&self) -> Vec<String> {
        let mut problems = start::problems(&self.services);
        problems.extend(saga::problems(&self.services, &self.remotes, &self.sagas, &self.outside));
        problems
    }

    /// The flows that the app carries, tracks or takes part in, in the order of their names, each with who does what in it, as far
    /// as the services here and the [remote](Self::remote) ones say: what pictures are drawn of.
    pub fn charts(&self) -> Vec<Chart> {
        let members: Vec<_> = members(&self.services, &self.remotes).collect();
        let tracked = members.iter().flat_map(|member| member.trackers).map(|tracker| &tracker.definition);
        let by_role = members.iter().flat_map(|member| member.handlers).filter_map(Handler::role).map(|role| &role.saga);
        let by_step = members.iter().flat_map(|member| member.steps).map(|step| &step.saga);
        let flows = self.sagas.iter().chain(tracked).chain(by_role).chain(by_step);
        let flows: BTreeMap<_, _> = flows.map(|flow| (&flow.name, flow)).collect();
        flows.values().map(|definition| chart(definition, &self.services, &self.remotes)).collect()
    }

    /// Checks everything, then runs the services on `transport` until the handle stops them.
    ///
    /// # Errors
    /// When the services contradict themselves or each other, or a database or the transport cannot be used. Nothing that has
    /// begun goes on then, and the databases and the transport are open, as they were given.
    pub async fn start(self, transport: Arc<dyn Transport>) -> Result<Handle, StartError> {
        let mut problems = self.check();
        let Self { name, services, clock, ids, remotes, spans, .. } = self;
        let charts = charts(&services, &remotes);
        let services: Vec<_> = services.into_iter().map(Service::with_saga_handlers).collect();
        if problems.is_empty() {
            let topics = start::topics(&services);
            problems = prepare(services.iter().map(Stored::of).collect(), &charts, &topics, &*transport).await;
        }
        if !problems.is_empty() {
            return Err(StartError { app: name, problems });
        }
        let mut handle = Handle { running: BTreeMap::new(), transport: transport.clone() };
        for service in services {
            let service_name = service.name.clone();
            match Running::start(service, transport.clone(), &clock, &ids, &spans.of(&name)).await {
                Ok(running) => {
                    handle.running.insert(service_name, running);
                }
                Err(problem) => {
                    handle.end(false).await;
                    return Err(StartError { app: name, problems: vec![format!("service `{service_name}`: {problem}")] });
                }
            }
        }
        Ok(handle)
    }

    /// Runs the services on `transport` until the process is told to stop, by SIGTERM or by Ctrl-C ([`stop_signal`]), then stops them and
    /// closes the transport. A signal while it starts ends the start, and a second one ends the stop; neither loses anything. Says whether
    /// everything ended in time.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn run(self, transport: Arc<dyn Transport>) -> Result<bool, StartError> {
        let mut told = pin!(stop_signal());
        let started = tokio::select! {
            started = self.start(transport.clone()) => Some(started?),
            () = &mut told => None,
        };
        if started.is_some() {
            told.await;
        }
        let again = stop_signal();
        let ending = async {
            let in_time = match started {
                Some(handle) => handle.stop().await,
                None => true,
            };
            let closed = tokio::time::timeout(CLOSE_TIMEOUT, transport.close()).await.is_ok();
            in_time && closed
        };
        tokio::select! {
            in_time = ending => Ok(in_time),
            () = again => Ok(false),
        }
    }
}

/// What a service keeps in its database. Unlike the service, which has closures of its user's, it can be shared between threads.
struct Stored<'s> {
    name: &'s str,
    store: &'s dyn Store,
    migrations: &'static [Migration],
    trackers: &'s [Tracker],
}

impl<'s> Stored<'s> {
    fn of(service: &'s Service) -> Self {
        let store = &**service.database.store();
        Self { name: &service.name, store, migrations: service.migrations, trackers: &service.trackers }
    }
}

/// Brings databases and topics into shape.
async fn prepare(
    services: Vec<Stored<'_>>,
    charts: &[(String, Chart)],
    topics: &[TopicExpectation],
    transport: &dyn Transport,
) -> Vec<String> {
    let mut problems = Vec::new();
    for Stored { name, store, migrations, trackers } in services {
        let migrated = async {
            store.migrate().await?;
            store.migrate_set(name, migrations).await?;
            let problems = saga::open_versions(name, store, trackers).await?;
            if problems.is_empty() {
                for (_, chart) in charts.iter().filter(|(tracker, _)| tracker == name) {
                    store.sagas().define(name, &saga::stored(chart)).await?;
                }
            }
            Ok::<_, StoreError>(problems)
        };
        match migrated.await {
            Ok(unknown) => problems.extend(unknown),
            Err(error) => problems.push(format!("service `{name}`: {error}")),
        }
    }
    if let Err(error) = transport.ensure_topics(&start::specs(topics)).await {
        problems.push(format!("the topics could not be made: {error}"));
    }
    match transport.check_topics(topics).await {
        Ok(findings) => problems.extend(lookout::refusals(findings)),
        // The lookout of each service asks again.
        Err(error) => tracing::info!(%error, "the settings of the topics cannot be read now"),
    }
    problems
}

/// The flows that are tracked by `services`, each with the service that does, and who takes part.
fn charts(services: &[Service], remotes: &[Remote]) -> Vec<(String, Chart)> {
    let tracked = services.iter().flat_map(|service| service.trackers.iter().map(|tracker| (&service.name, &tracker.definition)));
    tracked.map(|(tracker, definition)| (tracker.clone(), chart(definition, services, remotes))).collect()
}

/// The flow, and who takes part.
fn chart(definition: &Definition, services: &[Service], remotes: &[Remote]) -> Chart {
    let participants = saga::participants(definition, members(services, remotes));
    Chart { definition: definition.clone(), participants }
}

/// Who may take part in flows.
fn members<'s>(services: &'s [Service], remotes: &'s [Remote]) -> impl Iterator<Item = saga::Participant<'s>> {
    services.iter().map(saga::Participant::from).chain(remotes.iter().map(saga::Participant::from))
}

/// What a task beside the consumer does.
type Work = Box<dyn Fn(Arc<Core>) -> BoxFuture<'static, ()> + Send>;

/// A running service.
struct Running {
    service: ServiceHandle,
    stop_intake: watch::Sender<bool>,
    stop_relay: watch::Sender<bool>,
    intake: JoinSet<()>,
    relay: JoinSet<()>,
    background: JoinSet<()>,
    address: Option<SocketAddr>,
}

impl Running {
    async fn start(
        service: Service,
        transport: Arc<dyn Transport>,
        clock: &Clock,
        ids: &IdSource,
        spans: &Destination,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let topics = start::topics(std::slice::from_ref(&service));
        let time = Timekeeper::start(&service.name, &**service.database.store(), clock).await?;
        let metrics = Metrics::new(&service.name);
        let spans = spans.open(&service.name, ids.uuid(time.clock.now()).to_string(), &metrics)?;
        #[cfg_attr(not(feature = "http"), expect(unused_mut, reason = "what is set below belongs to HTTP"))]
        let mut core = Core::new(
            service.name.into(),
            service.database,
            transport,
            service.settings,
            time,
            ids.clone(),
            service.handlers,
            &service.trackers,
            service.state,
            (metrics, spans),
        );
        #[cfg(feature = "http")]
        {
            let address = service.listener.as_ref().map(std::net::TcpListener::local_addr).transpose()?;
            core.operators = super::operators::Operators::at(address, service.operator_token.as_deref(), service.public_names);
        }
        let core = Arc::new(core);
        let handle = ServiceHandle::new(&core);
        let sending = Relay::start(core.clone()).await?;
        let (stop_intake, stopping) = watch::channel(false);
        let (stop_relay, stopping_relay) = watch::channel(false);
        let (mut intake, mut background) = (JoinSet::new(), JoinSet::new());
        let mut relay = JoinSet::new();
        relay.spawn(sending.run(stopping_relay));
        let stop = Stop::new(stopping.clone());
        let mut beside = |task, work: Work| {
            let core = core.clone();
            background.spawn(supervise(core.clone(), task, Task::Helping, stop.clone(), move || work(core.clone())));
        };

        let read = core.directory.topics();
        if !core.handlers.iter().all(|handler: &Handler| handler.accepts().is_empty()) {
            let subscription = core.transport.subscribe(&core.name, &read).await?;
            intake.spawn(consumer::run(core.clone(), read, subscription, stopping.clone()));
            beside("audit", Box::new(|core| Box::pin(upkeep::audit(core))));
            beside("replays", Box::new(|core| Box::pin(replays::watch(core))));
            beside("logs", Box::new(|core| Box::pin(logs::watch(core))));
        }
        let lookout = lookout::new(core.clone(), topics);
        beside("lookout", Box::new(move |_| Box::pin(lookout::run(lookout.clone()))));
        beside("measure", Box::new(|core| Box::pin(upkeep::measure(core))));
        beside("prune", Box::new(|core| Box::pin(upkeep::prune(core))));
        beside("clock", Box::new(|core| Box::pin(timekeeper::keep(core))));
        if !core.sagas.tracked.is_empty() {
            beside("deadlines", Box::new(|core| Box::pin(saga::watch(core))));
        }
        if core.spans.is_on() {
            beside("traces", Box::new(|core| Box::pin(spans::watch(core))));
        }
        upkeep::checks(&core);
        for job in service.jobs {
            beside("job", Box::new(move |core| job(ServiceHandle::new(&core))));
        }

        #[cfg(feature = "http")]
        let address = {
            let mut address = None;
            if let Some(listener) = service.listener {
                address = Some(listener.local_addr()?);
                let own = service.routes.map(|routes| routes(handle.clone())).unwrap_or_default();
                let router = crate::http::served(own, &handle, service.prefix.as_deref())?;
                let limits = crate::http::RequestLimits { answer_timeout: core.settings.answer_timeout(), ..Default::default() };
                let router = crate::http::harden_service(router, &handle, limits);
                let limits = crate::http::ServeLimits { stop_timeout: core.settings.stop_timeout(), ..Default::default() };
                let serving = stop.clone();
                // Kept for the case that the server is begun anew, and closed when the service stops, so that nobody waits in vain.
                let kept = Arc::new(Mutex::new(Some(listener)));
                intake.spawn(supervise(core.clone(), "http", Task::Vital, stop, move || {
                    let (kept, router, stop) = (kept.clone(), router.clone(), serving.clone());
                    async move {
                        let Some(listener) = lock(&kept).as_ref().map(std::net::TcpListener::try_clone) else { return };
                        let stopped = async {
                            stop.comes().await;
                            lock(&kept).take();
                        };
                        let served = async { crate::http::serve(listener?, router, limits, stopped).await };
                        if let Err(error) = served.await {
                            tracing::error!(%error, "the HTTP server has ended");
                        }
                    }
                }));
            }
            address
        };
        #[cfg(not(feature = "http"))]
        let address: Option<SocketAddr> = None;
        let listener = address.map_or_else(|| "none".to_owned(), |address| address.to_string());
        let (reads, database) = (core.directory.topics(), core.store().place());
        tracing::info!(
            service = &*core.name,
            ?reads,
            database,
            listener,
            sagas = env!("CARGO_PKG_VERSION"),
            "the service has started"
        );
        Ok(Self { service: handle, stop_intake, stop_relay, intake, relay, background, address })
    }

    /// Takes nothing new, and finishes what is running.
    async fn end_intake(&mut self) {
        while self.intake.join_next().await.is_some() {}
    }
}

#[cfg(feature = "http")]
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A running app. Dropped without [`stop`](Handle::stop), it is ended like by a crash, which loses nothing.
pub struct Handle {
    running: BTreeMap<String, Running>,
    transport: Arc<dyn Transport>,
}

impl Handle {
    /// The running service called `name`.
    pub fn service(&self, name: &str) -> Option<&ServiceHandle> {
        self.running.get(name).map(|running| &running.service)
    }

    /// The address that the service called `name` listens on.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.running.get(name)?.address
    }

    /// Waits until nothing is left to do but what waits for its time: every published record was handled, every outbox is
    /// empty, and no parked message is due.
    pub async fn quiet(&self) {
        let cores: Vec<_> = self.running.values().map(|running| running.service.core().clone()).collect();
        let mut moves: Vec<_> = cores.iter().map(|core| core.activity.subscribe()).collect();
        loop {
            let before: Vec<u64> = moves.iter_mut().map(|moves| *moves.borrow_and_update()).collect();
            let mut quiet = self.at_rest(&cores).await;
            quiet &= moves.iter().zip(&before).all(|(moves, before)| *moves.borrow() == *before);
            if quiet {
                return;
            }
            let changes = moves.iter_mut().map(|moves| Box::pin(moves.changed()));
            if futures_util::future::select_all(changes).await.0.is_err() {
                return;
            }
        }
    }

    async fn at_rest(&self, cores: &[Arc<Core>]) -> bool {
        for core in cores {
            if !core.ledger().is_empty() || core.lot().is_active(core.clock.now()) {
                return false;
            }
            // Rows of other instances, and of those that were killed.
            if core.store().sharing().is_some() {
                match core.store().outbox(&core.name, 0, 1).await {
                    Ok(rows) if rows.is_empty() => {}
                    _ => return false,
                }
            }
            match self.transport.lag(&core.name, &core.directory.topics()).await {
                Ok(lags) if lags.iter().all(|lag| lag.committed >= lag.end) => {}
                _ => return false,
            }
            // A service that has just begun does not know yet what is parked.
            match core.store().parked_keys(&core.name).await {
                Ok(keys) if keys.iter().all(|key| key.due > core.clock.now()) => {}
                _ => return false,
            }
            match core.store().sagas().next_due(&core.name).await {
                Ok(due) if due.is_none_or(|due| due > core.clock.now()) => {}
                _ => return false,
            }
        }
        true
    }

    /// Stops: takes nothing new, finishes what is running, sends what is in the outboxes, commits, leaves the groups; all of
    /// it within [`stop_timeout_ms`](crate::settings::Settings::stop_timeout_ms), the longest of the services'. What was not
    /// finished then is done after the next start. Says whether everything ended in time.
    pub async fn stop(self) -> bool {
        self.end(true).await
    }

    /// Stops, and closes the databases if they are to be closed.
    async fn end(mut self, close: bool) -> bool {
        let limit = self.running.values().map(|running| running.service.core().settings.stop_timeout()).max().unwrap_or_default();
        for running in self.running.values() {
            running.service.core().health.set_stopping();
            running.stop_intake.send_replace(true);
        }
        let ending = async {
            for running in self.running.values_mut() {
                running.end_intake().await;
            }
            for running in self.running.values_mut() {
                running.background.shutdown().await;
                running.stop_relay.send_replace(true);
                if let Some(Err(error)) = running.relay.join_next().await {
                    tracing::error!(%error, "the relay has ended before its time");
                }
            }
        };
        let began = tokio::time::Instant::now();
        // The last fifth is for closing what did not end.
        let in_time = tokio::time::timeout_at(began + limit * 4 / 5, ending).await.is_ok();
        for running in self.running.values_mut() {
            running.intake.shutdown().await;
            running.background.shutdown().await;
            running.relay.shutdown().await;
        }
        let flush = FLUSH.min(limit / 8);
        let told = futures_util::future::join_all(self.running.values().map(|running| running.service.core().spans.close(flush)));
        let closing = async {
            for running in self.running.values() {
                relay::leave(running.service.core()).await;
            }
            for running in self.running.values().filter(|_| close) {
                running.service.database().store().close().await;
            }
        };
        // A transaction that user code keeps would be waited for without end.
        let closing = futures_util::future::join(told, closing);
        let closed = tokio::time::timeout_at(began + limit, closing).await.is_ok();
        for service in self.running.keys() {
            let took_ms = began.elapsed().as_millis();
            match in_time && closed {
                true => tracing::info!(service, took_ms, "the service has stopped"),
                false => tracing::warn!(
                    service,
                    took_ms,
                    "the service has stopped before it had finished; what is left is done after its next start"
                ),
            }
        }
        in_time && closed
    }
}
