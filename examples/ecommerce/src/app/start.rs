//! Starting the services in this process, and stopping them.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sagas::{
    App, Handle, Remote, Service, ServiceHandle, Settings, Traces, Tracker,
    id::IdSource,
    kafka::{Kafka, KafkaConfig},
    saga::Saga,
    store::StoreError,
    time::Clock,
    transport::{
        Transport, TransportError,
        embedded::{Embedded, EmbeddedOptions},
    },
};

use super::{
    OperatorToken, ServiceName, Storage,
    ports::{self, PortError},
};
use crate::services::notification::providers::Providers;
use crate::{
    check::Peers,
    client::Client,
    contracts::{OrderShipped, PlaceOrder},
    services::{
        analytics::{self, stream::StreamLimits},
        inventory, notification, order,
        payment::{self, gateway::Gateway, terminal::Terminal},
    },
};

/// The log that the services talk through.
#[derive(Clone)]
#[non_exhaustive]
pub enum Broker {
    /// The embedded one, in the data folder.
    Embedded,
    /// Apache Kafka.
    Kafka(KafkaConfig),
    /// One that is open, and is left open.
    Open(Arc<dyn Transport>),
}

/// What is to run, where, and on what.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where everything is written that has no server: a database per service, the log, the gateway's ledger.
    pub data_dir: PathBuf,
    /// The order service's port; each service has its place behind it. 0 is any free port for each.
    pub base_port: u16,
    /// The address that is listened on.
    pub host: IpAddr,
    /// The services that run.
    pub services: Vec<ServiceName>,
    /// The log.
    pub broker: Broker,
    /// The databases.
    pub storage: Storage,
    /// The clock.
    pub clock: Clock,
    /// Where identities and randomness come from.
    pub ids: IdSource,
    /// The limits of each service.
    pub settings: Settings,
    /// How long an order may be undecided before it is cancelled.
    pub order_deadline: Duration,
    /// The limits of the event stream.
    pub stream: StreamLimits,
    /// What operators say who are not on this machine.
    pub operator_token: Option<OperatorToken>,
    /// Where services run that do not run in this process, when not on this machine behind `base_port`.
    pub peers: BTreeMap<ServiceName, String>,
    /// Where spans go.
    pub traces: Traces,
}

impl Config {
    /// All services, with their data in `data_dir`, on any free ports of this machine.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            base_port: 0,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            services: ServiceName::ALL.to_vec(),
            broker: Broker::Embedded,
            storage: Storage::Files,
            clock: Clock::system(),
            ids: IdSource::random(),
            settings: Settings::default(),
            order_deadline: PlaceOrder::definition().deadline,
            stream: StreamLimits::default(),
            operator_token: None,
            peers: BTreeMap::new(),
            traces: Traces::off(),
        }
    }

    /// With the order service on `base_port`, and the others behind it.
    #[must_use]
    pub fn base_port(mut self, base_port: u16) -> Self {
        self.base_port = base_port;
        self
    }

    /// On this log instead of the embedded one.
    #[must_use]
    pub fn broker(mut self, broker: Broker) -> Self {
        self.broker = broker;
        self
    }

    /// On this open log, which is left open.
    #[must_use]
    pub fn transport(self, transport: Arc<dyn Transport>) -> Self {
        self.broker(Broker::Open(transport))
    }

    /// With the databases here instead of in the data folder.
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// By this clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// With orders cancelled that are undecided after this time.
    #[must_use]
    pub fn order_deadline(mut self, order_deadline: Duration) -> Self {
        self.order_deadline = order_deadline;
        self
    }

    /// With identities and randomness from here.
    #[must_use]
    pub fn ids(mut self, ids: IdSource) -> Self {
        self.ids = ids;
        self
    }
}

/// Why the services do not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A port cannot be listened on.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The data folder cannot be used.
    #[error("the data folder {} cannot be used ({error}); name one that can be written with --data-dir", .path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] TransportError),
    /// A database cannot be opened.
    #[error("the database {place} cannot be opened: {error}")]
    Database {
        /// The file, or the address without its password.
        place: String,
        /// Why.
        error: StoreError,
    },
    /// The simulated gateway has no ledger.
    #[error("the payment gateway's ledger {place} cannot be opened: {error}")]
    Gateway {
        /// The file, or the address without its password.
        place: String,
        /// Why.
        error: sqlx::Error,
    },
    /// No HTTP client can be made.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The services contradict each other, or cannot use what they were given.
    #[error(transparent)]
    App(#[from] sagas::StartError),
}

/// How long a stop waits for the files to be closed, once the services have stopped. What hangs is as well off after a crash.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The services, running.
pub struct Running {
    handle: Handle,
    client: Client,
    gateway: Option<Gateway>,
    /// The log, if it was opened here.
    log: Option<Arc<dyn Transport>>,
}

/// Starts the services.
///
/// # Errors
/// When a port is taken, or the data folder or the log cannot be used; then nothing runs.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let Config {
        data_dir, base_port, host, services, broker, storage, clock, ids, settings, order_deadline, stream, traces, ..
    } = config;
    let token = config.operator_token.as_ref().map(OperatorToken::as_str);
    let mut listeners = ports::bind(&services, host, base_port)?;
    std::fs::create_dir_all(&data_dir).map_err(|error| StartError::DataDir { path: data_dir.clone(), error })?;
    let (transport, log): (Arc<dyn Transport>, _) = match broker {
        Broker::Open(transport) => (transport, None),
        Broker::Embedded => {
            let opened = embedded(&data_dir, &clock).await?;
            (opened.clone(), Some(opened))
        }
        Broker::Kafka(config) => {
            let opened: Arc<dyn Transport> = Kafka::connect(config).await?;
            (opened.clone(), Some(opened))
        }
    };
    let urls = listeners.iter().filter_map(|(service, listener)| {
        let address = listener.local_addr().ok()?;
        Some((*service, ports::url(address)))
    });
    let own: BTreeMap<_, _> = urls.collect();
    // Those that do not run here may run beside this process, on their own ports.
    let mut all = if base_port == 0 { BTreeMap::new() } else { ports::urls(host, base_port) };
    all.extend(config.peers);
    all.extend(own.clone());
    let (client, peers) = (Client::new(own)?.operator(token), Client::new(all)?.operator(token));

    let mut app = App::new("ecommerce").clock(clock.clone()).ids(ids.clone()).saga::<PlaceOrder>().traces(traces);
    for name in ServiceName::ALL.into_iter().filter(|name| !services.contains(name)) {
        app = app.remote(elsewhere(name));
    }
    let mut gateway = None;
    for name in services {
        let database = storage.database(&data_dir, name).await?;
        let service: Service = match name {
            ServiceName::Order => order::service(database, Peers { client: peers.clone() }, order_deadline),
            ServiceName::Inventory => inventory::service(database),
            ServiceName::Payment => {
                let opened = storage.gateway(&data_dir, &clock, &ids).await?;
                gateway = Some(opened.clone());
                payment::service(database, Terminal::new(opened, clock.clone()))
            }
            ServiceName::Notification => notification::service(database, Providers::new(ids.clone())),
            ServiceName::Analytics => analytics::service(database, stream),
        };
        let service = service.settings(settings.clone());
        let service = match token {
            Some(token) => service.operator_token(token),
            None => service,
        };
        app = app.service(match listeners.remove(&name) {
            Some(listener) => service.listen(listener),
            None => service,
        });
    }
    let handle = app.start(transport).await?;
    Ok(Running { handle, client, gateway, log })
}

/// A service that runs in another process, for the check of the flow.
fn elsewhere(name: ServiceName) -> Remote {
    let remote = Remote::new(name.as_str());
    match name {
        ServiceName::Order => remote.handlers(order::handlers()).tracks(Tracker::of::<PlaceOrder>()).publishes::<OrderShipped>(),
        ServiceName::Inventory => remote.handlers(inventory::handlers()),
        ServiceName::Payment => remote.handlers(payment::handlers()),
        ServiceName::Notification => remote.handlers(notification::handlers()),
        ServiceName::Analytics => remote.handlers(analytics::handlers()),
    }
}

async fn embedded(data_dir: &Path, clock: &Clock) -> Result<Arc<dyn Transport>, StartError> {
    let mut options = EmbeddedOptions::default();
    options.clock = clock.clone();
    Ok(Embedded::open(data_dir.join("log"), options).await?)
}

impl Running {
    /// The address of a service, `http://127.0.0.1:8081`; `None` when it does not run here.
    pub fn base_url(&self, service: &str) -> Option<&str> {
        self.client.url(service.parse().ok()?).ok()
    }

    /// A client of all of them.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A running service, for what happens outside its handlers; `None` when it does not run here.
    pub fn service(&self, service: &str) -> Option<&ServiceHandle> {
        self.handle.service(service)
    }

    /// Waits until nothing is left to do but what waits for its time.
    pub async fn quiet(&self) {
        self.handle.quiet().await;
    }

    /// Stops: finishes what is running, and says whether all of it ended in time.
    pub async fn stop(self) -> bool {
        let in_time = self.handle.stop().await;
        let closing = async {
            if let Some(gateway) = self.gateway {
                gateway.close().await;
            }
            if let Some(log) = self.log {
                log.close().await;
            }
        };
        let closed = tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_ok();
        in_time && closed
    }
}
