//! An app: services on one transport.

mod handle;
mod recorder;
mod run;
mod servers;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use futures_core::future::BoxFuture;
use tokio::{sync::watch, task::JoinSet};

use super::{
    core::Core,
    fence::Shutdown,
    handled_before, log_monitor, logs,
    panics::{Task, supervise},
    relay::Relay,
    replays, saga,
    service::Servers,
    spans::{self, Destination},
    start,
    timekeeper::{self, Timekeeper},
    topic_setup::{self, TopicSetup},
    upkeep,
};
use crate::{
    handler::Handler,
    id::IdSource,
    message::{EventSet, EventType},
    runtime::{Metrics, Remote, Service, ServiceHandle, Tracker, metrics::Program},
    saga::{Chart, Definition, Saga},
    store::{Migration, Store, StoreError},
    time::Clock,
    transport::{TopicNames, Transport, named::Named},
};

pub use self::handle::Handle;

/// The services that one program runs on one transport.
pub struct App {
    name: String,
    services: Vec<Service>,
    clock: Clock,
    ids: IdSource,
    remotes: Vec<Remote>,
    sagas: Vec<Arc<Definition>>,
    outside: Vec<EventType>,
    topics: TopicNames,
    unreachable_log: bool,
    spans: Destination,
    recorder: Program,
    servers: Servers,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("name", &self.name).field("services", &self.services).finish_non_exhaustive()
    }
}

/// The reasons why an app did not start. Its `Display` lists every problem, one per line.
#[derive(thiserror::Error)]
#[error("the app `{app}` cannot start:\n{}", .problems.join("\n"))]
#[non_exhaustive]
pub struct StartError {
    /// The name of the app.
    pub app: String,
    /// The problems that were found.
    pub problems: Vec<String>,
}

/// Prints the same text as `Display`, because a `main` that returns the error prints it with `Debug`.
impl std::fmt::Debug for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl App {
    /// Creates an app called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            services: Vec::new(),
            clock: Clock::system(),
            ids: IdSource::random(),
            remotes: Vec::new(),
            sagas: Vec::new(),
            outside: Vec::new(),
            topics: TopicNames::default(),
            unreachable_log: false,
            spans: Destination::default(),
            recorder: Program::default(),
            servers: Servers::default(),
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

    /// Checks the whole saga `S` at the start: each step has one handler, each published event has a consumer, and each consumed event has
    /// a publisher. Services in other programs are declared with [`remote`](Self::remote).
    ///
    /// Without this call, the check covers only the parts of the saga that the services of this app do.
    #[must_use]
    pub fn saga<S: Saga>(mut self) -> Self {
        self.sagas.push(Arc::new(S::definition()));
        self
    }

    /// Declares a service that runs in another program.
    #[must_use]
    pub fn remote(mut self, remote: Remote) -> Self {
        self.remotes.push(remote);
        self
    }

    /// Declares events that are published or consumed by programs outside the app.
    #[must_use]
    pub fn outside<E: EventSet>(mut self) -> Self {
        self.outside.extend(E::types());
        self
    }

    /// Sets the names that topics have in the log of this deployment.
    ///
    /// For example, the topic `orders` in the code can be `prod.orders` in the log. The names apply to every topic that is read or
    /// published, including the dead-letter topics and the topics of the framework. Handlers, databases, metrics and the HTTP interface use
    /// the names in the code. Log lines and health use the names in the log.
    ///
    /// The names of the framework's topics begin with the name of the app: `shop.sagas.attention` and `shop.sagas.operations`. Programs
    /// that take part in the same saga exchange messages on these topics, so their apps must have the same name, or they must set the same
    /// names for these topics.
    #[must_use]
    pub fn topics(mut self, names: TopicNames) -> Self {
        self.topics = names;
        self
    }

    /// Lets the app start also while its log is unreachable. By default it does not start then.
    ///
    /// The services start, serve and publish into their outboxes, which need their databases only. Their health is down by the condition
    /// `log_unreachable`. When the log answers, the app creates and checks its topics, the relays send what is in the outboxes, and the
    /// consumers join their groups. What a start would refuse in the topics is a condition then. Only
    /// [`TransportError::Unavailable`](crate::transport::TransportError::Unavailable) is waited for.
    ///
    /// The transport has to be made without asking the log, as `Kafka::connect_lazy` does.
    #[must_use]
    pub fn allow_unreachable_log(mut self, allow: bool) -> Self {
        self.unreachable_log = allow;
        self
    }

    /// Replaces the clock. Each service derives its own clock from it, see [`Clock`]: it follows the time of the database, where processes
    /// share one, and the machine's monotonic clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Replaces the source of ids and random numbers.
    #[must_use]
    pub fn ids(mut self, ids: IdSource) -> Self {
        self.ids = ids;
        self
    }

    /// Exports deliveries and requests as OpenTelemetry spans. The services never wait for the collector and do not fail without it. The
    /// guide's page `tracing` lists the spans.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn traces(mut self, traces: crate::runtime::Traces) -> Self {
        self.spans = Destination::from(traces);
        self
    }

    /// Returns every problem of the app that can be found without its databases and its transport. Empty if there is none.
    pub fn check(&self) -> Vec<String> {
        let mut problems = start::problems(&self.services, &self.topics);
        problems.extend(servers::of_app(self.servers.problems(&self.services)));
        problems.extend(start::names(&self.name, &self.services, &self.topics));
        problems.extend(saga::problems(&self.services, &self.remotes, &self.sagas, &self.outside));
        problems
    }

    /// Returns the sagas that the app declares, tracks or takes part in, ordered by name, each with its participants.
    ///
    /// The participants are those among the services of this app and the [remote](Self::remote) services. Saga diagrams are drawn from
    /// charts.
    pub fn charts(&self) -> Vec<Chart> {
        let members: Vec<_> = members(&self.services, &self.remotes).collect();
        let tracked = members.iter().flat_map(|member| member.trackers).map(|tracker| &tracker.definition);
        let by_role = members.iter().flat_map(|member| member.handlers).filter_map(Handler::role).map(|role| &role.saga);
        let by_step = members.iter().flat_map(|member| member.steps).map(|step| &step.saga);
        let sagas = self.sagas.iter().chain(tracked).chain(by_role).chain(by_step);
        let sagas: BTreeMap<_, _> = sagas.map(|saga| (&saga.name, saga)).collect();
        sagas.values().map(|definition| chart(definition, &self.services, &self.remotes)).collect()
    }

    /// Checks the app, then runs its services on `transport` until the returned handle stops them.
    ///
    /// # Errors
    /// If the services contradict themselves or each other, or if a database or the transport cannot be used. Everything that was already
    /// started is stopped. The databases and the transport stay open, because the caller opened them.
    pub async fn start(self, transport: Arc<dyn Transport>) -> Result<Handle, StartError> {
        let mut problems = self.check();
        let transport = self.log(transport);
        let Self { name, services, clock, ids, remotes, spans, recorder, unreachable_log, mut servers, .. } = self;
        let charts = charts(&services, &remotes);
        let mut services: Vec<_> = services.into_iter().map(Service::with_saga_handlers).collect();
        if problems.is_empty() {
            problems = servers::bind(&mut servers, &mut services);
        }
        let setup = Arc::new(TopicSetup::new(start::topics(&services), unreachable_log));
        let mut unreachable = None;
        if problems.is_empty() {
            problems = prepare(services.iter().map(Stored::of).collect(), &charts).await;
            unreachable = setup.start(&*transport, &mut problems).await.err().map(|error| error.to_string());
        }
        if !problems.is_empty() {
            return Err(StartError { app: name, problems });
        }
        let mut handle = Handle { running: BTreeMap::new(), transport: transport.clone() };
        for service in services {
            let service_name = service.name.clone();
            let given = Given {
                transport: transport.clone(),
                clock: &clock,
                ids: &ids,
                spans: &spans.of(&name),
                recorder: recorder.clone(),
                setup: &setup,
                unreachable: unreachable.as_deref(),
            };
            match Running::start(service, given).await {
                Ok(running) => {
                    handle.running.insert(service_name, running);
                }
                Err(problems) => {
                    handle.end(false).await;
                    return Err(StartError { app: name, problems: servers::of_service(&service_name, problems) });
                }
            }
        }
        let mut problems = handle.serve(servers).await.err().unwrap_or_default();
        if problems.is_empty() {
            problems = handle.consume().await;
        }
        if !problems.is_empty() {
            handle.end(false).await;
            return Err(StartError { app: name, problems });
        }
        Ok(handle)
    }

    /// Wraps `transport` so that it uses this app's topic names.
    pub(crate) fn log(&self, transport: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(Named::new(transport, start::with_app_name(self.topics.clone(), &self.name)))
    }
}

/// The parts of a service that the preparation of its database needs. Unlike [`Service`], which contains closures of the user, it is
/// `Sync`.
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

/// Migrates the databases.
async fn prepare(services: Vec<Stored<'_>>, charts: &[(String, Chart)]) -> Vec<String> {
    let mut problems = Vec::new();
    for Stored { name, store, migrations, trackers } in services {
        let migrated = async {
            store.migrate().await?;
            // A service without migrations of its own has tables that others make, whatever it has made before.
            if !migrations.is_empty() {
                store.migrate_set(name, migrations).await?;
            }
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
    problems
}

/// Returns the chart of every saga that one of `services` tracks, with the name of that service.
fn charts(services: &[Service], remotes: &[Remote]) -> Vec<(String, Chart)> {
    let tracked = services.iter().flat_map(|service| service.trackers.iter().map(|tracker| (&service.name, &tracker.definition)));
    tracked.map(|(tracker, definition)| (tracker.clone(), chart(definition, services, remotes))).collect()
}

/// Builds the chart of a saga: its definition and its participants.
fn chart(definition: &Definition, services: &[Service], remotes: &[Remote]) -> Chart {
    let participants = saga::participants(definition, members(services, remotes));
    Chart { definition: definition.clone(), participants }
}

/// Returns all services that can take part in a saga, in this program or another.
fn members<'s>(services: &'s [Service], remotes: &'s [Remote]) -> impl Iterator<Item = saga::Participant<'s>> {
    services.iter().map(saga::Participant::from).chain(remotes.iter().map(saga::Participant::from))
}

/// The body of a background task.
type Work = Box<dyn Fn(Arc<Core>) -> BoxFuture<'static, ()> + Send>;

/// A running service.
struct Running {
    service: ServiceHandle,
    stop_intake: watch::Sender<bool>,
    stop_relay: watch::Sender<bool>,
    /// The consumer, until all services of the app have started. The lock is never contended; it makes the handle `Sync`.
    consumer: Mutex<Option<BoxFuture<'static, ()>>>,
    intake: JoinSet<()>,
    relay: JoinSet<()>,
    background: JoinSet<()>,
    /// The address at which clients reach the service, if it has a server.
    address: Option<SocketAddr>,
}

/// What the app passes to each of its services.
struct Given<'a> {
    transport: Arc<dyn Transport>,
    clock: &'a Clock,
    ids: &'a IdSource,
    spans: &'a Destination,
    recorder: Program,
    setup: &'a Arc<TopicSetup>,
    /// Why the log is unreachable, if it is.
    unreachable: Option<&'a str>,
}

impl Running {
    /// Starts the service and its servers, without its consumer.
    ///
    /// # Errors
    /// Every problem that was found.
    async fn start(mut service: Service, given: Given<'_>) -> Result<Self, Vec<String>> {
        let (servers, unreachable) = (std::mem::take(&mut service.servers), given.unreachable);
        let mut running = Self::begin(service, given).await.map_err(|error| vec![error.to_string()])?;
        running.address = servers.address();
        let operators = servers.operators();
        for task in servers.start(std::slice::from_ref(&running.service)).await? {
            running.serve(task);
        }
        running.log_start(operators, unreachable).await;
        Ok(running)
    }

    /// Starts the service, without its consumer and its servers.
    async fn begin(service: Service, given: Given<'_>) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let Given { transport, clock, ids, spans, recorder, setup, unreachable } = given;
        let topics = start::topics(std::slice::from_ref(&service));
        let time = Timekeeper::start(&service.name, &**service.database.store(), clock).await?;
        let metrics = Metrics::recorded(&service.name, recorder);
        let spans = spans.open(&service.name, ids.uuid(time.clock.now()).to_string(), &metrics)?;
        let core = Core::new(
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
        let decided = match unreachable {
            None => handled_before::join(&core, setup.can_wait()).await?,
            Some(_) => handled_before::look(&core).await.map(|()| false)?,
        };
        let core = Arc::new(core);
        let sending = Relay::start(core.clone()).await?;
        let (stop_intake, stopping) = watch::channel(false);
        let (stop_relay, stopping_relay) = watch::channel(false);
        let (mut relay, mut background) = (JoinSet::new(), JoinSet::new());
        relay.spawn(sending.run(stopping_relay));
        let stop = Shutdown::new(stopping.clone());
        let mut beside = |task, work: Work| {
            let core = core.clone();
            background.spawn(supervise(core.clone(), task, Task::Helping, stop.clone(), move || work(core.clone())));
        };

        let (ready, is_ready) = watch::channel(decided);
        if !decided {
            let (setup, ready) = (setup.clone(), Arc::new(ready));
            beside("topics", Box::new(move |core| Box::pin(topic_setup::catch_up(core, setup.clone(), ready.clone()))));
        }
        let mut consumer = None::<BoxFuture<'static, ()>>;
        if !core.topics().is_empty() || !decided && core.remembered().topics().next().is_some() {
            let subscription = match decided {
                true => match core.transport.subscribe(&core.name, &core.topics()).await {
                    Err(error) if setup.can_wait_after(&error) => None,
                    subscribed => Some(subscribed?),
                },
                false => None,
            };
            consumer = Some(Box::pin(topic_setup::consume(core.clone(), subscription, is_ready, stopping.clone())));
            beside("audit", Box::new(|core| Box::pin(upkeep::audit(core))));
            beside("replays", Box::new(|core| Box::pin(replays::watch(core))));
            beside("logs", Box::new(|core| Box::pin(logs::watch(core))));
        }
        let log_monitor = log_monitor::new(core.clone(), topics);
        beside("log_monitor", Box::new(move |_| Box::pin(log_monitor::run(log_monitor.clone()))));
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

        Ok(Self {
            service: ServiceHandle::new(&core),
            stop_intake,
            stop_relay,
            consumer: Mutex::new(consumer),
            intake: JoinSet::new(),
            relay,
            background,
            address: None,
        })
    }

    /// Starts the consumer.
    fn consume(&mut self) {
        if let Some(consumer) = self.consumer.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            self.intake.spawn(consumer);
        }
    }

    /// Returns what has not ended of the service, if anything.
    fn left(&mut self) -> Option<String> {
        while self.intake.try_join_next().is_some() {}
        let requests = || (!self.intake.is_empty()).then(|| "a request or a connection has not ended".to_owned());
        self.service.core().unfinished().or_else(requests)
    }

    /// Stops the intake and waits until running work has finished. A consumer that was never started runs here, so that it leaves its
    /// group.
    async fn end_intake(&mut self) {
        self.consume();
        while self.intake.join_next().await.is_some() {}
    }
}
