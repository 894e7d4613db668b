//! Starts the services in this process, and stops them.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sagas::{
    App, Handle, Operators, Remote, Service, ServiceHandle, Settings, Traces, Tracker,
    http::{AppHttp, ServiceHttp},
    id::IdSource,
    kafka::{Kafka, KafkaConfig},
    port::transport::Transport,
    saga::Saga,
    store::StoreError,
    time::Clock,
    transport::{
        TransportError,
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

/// The log through which the services communicate.
#[derive(Clone)]
#[non_exhaustive]
pub enum Broker {
    /// The embedded log, in the data folder.
    Embedded,
    /// Apache Kafka.
    Kafka(KafkaConfig),
    /// A log that the caller has opened, and that stays open after the stop.
    Open(Arc<dyn Transport>),
}

/// The configuration of the services to start.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The folder for data that is not on a server: a database for each service, the log, and the gateway's ledger.
    pub data_dir: PathBuf,
    /// The port of the order service; each other service has a fixed offset from it. 0 chooses a free port for each.
    pub base_port: u16,
    /// The address to listen on.
    pub host: IpAddr,
    /// The services to run.
    pub services: Vec<ServiceName>,
    /// The log.
    pub broker: Broker,
    /// The databases.
    pub storage: Storage,
    /// The clock.
    pub clock: Clock,
    /// The source of ids and random numbers.
    pub ids: IdSource,
    /// The limits of each service.
    pub settings: Settings,
    /// How long an order can be undecided before it is cancelled.
    pub order_deadline: Duration,
    /// The limits of the event stream.
    pub stream: StreamLimits,
    /// The token of operators that are not on this machine.
    pub operator_token: Option<OperatorToken>,
    /// The URLs of services that run neither in this process nor on this machine's ports after `base_port`.
    pub peers: BTreeMap<ServiceName, String>,
    /// Where spans are sent.
    pub traces: Traces,
}

impl Config {
    /// Creates the configuration of all services with their data in `data_dir`, on free ports of this machine.
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

    /// Sets the port of the order service; the other services use the ports that follow.
    #[must_use]
    pub fn base_port(mut self, base_port: u16) -> Self {
        self.base_port = base_port;
        self
    }

    /// Sets the log. Default: the embedded log.
    #[must_use]
    pub fn broker(mut self, broker: Broker) -> Self {
        self.broker = broker;
        self
    }

    /// Uses this log, which stays open after the stop.
    #[must_use]
    pub fn transport(self, transport: Arc<dyn Transport>) -> Self {
        self.broker(Broker::Open(transport))
    }

    /// Sets the databases. Default: files in the data folder.
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the time after which undecided orders are cancelled.
    #[must_use]
    pub fn order_deadline(mut self, order_deadline: Duration) -> Self {
        self.order_deadline = order_deadline;
        self
    }

    /// Sets the source of ids and random numbers.
    #[must_use]
    pub fn ids(mut self, ids: IdSource) -> Self {
        self.ids = ids;
        self
    }
}

/// Why the services could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A port cannot be bound.
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
    /// The ledger of the simulated gateway cannot be opened.
    #[error("the payment gateway's ledger {place} cannot be opened: {error}")]
    Gateway {
        /// The file, or the address without its password.
        place: String,
        /// Why.
        error: sqlx::Error,
    },
    /// The HTTP client cannot be created.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The services contradict each other, or cannot use their configuration.
    #[error(transparent)]
    App(#[from] sagas::StartError),
}

/// How long a stop waits for files to be closed, after the services have stopped. A crash at this point loses nothing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The running services.
pub struct Running {
    handle: Handle,
    client: Client,
    gateway: Option<Gateway>,
    /// The log, if this program has opened it.
    log: Option<Arc<dyn Transport>>,
}

/// Starts the services.
///
/// # Errors
/// When a port cannot be bound, or when the data folder, a database or the log cannot be used. No service runs then.
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
    // Services that do not run here may run in other processes of this machine, on their own ports.
    let mut all = if base_port == 0 { BTreeMap::new() } else { ports::urls(host, base_port) };
    all.extend(config.peers);
    all.extend(own.clone());
    let (client, peers) = (Client::new(own)?.operator(token), Client::new(all)?.operator(token));

    let mut app = App::new("ecommerce")
        .clock(clock.clone())
        .ids(ids.clone())
        .saga::<PlaceOrder>()
        .traces(traces)
        .operators(operators(token));
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
        app = app.service(match listeners.remove(&name) {
            Some(listener) => service.listen(listener),
            None => service,
        });
    }
    let handle = app.start(transport).await?;
    Ok(Running { handle, client, gateway, log })
}

/// The access of operators: on the port of each service, with the token, and without it on a loopback address. This is for trying
/// the example; in production, operators have a listener of their own.
fn operators(token: Option<&str>) -> Operators {
    let operators = Operators::beside_the_routes().open_on_loopback().metrics_for_everybody();
    token.into_iter().fold(operators, Operators::token)
}

/// Describes a service that runs in another process, for the check of the saga.
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
    /// Returns the URL of a service, such as `http://127.0.0.1:8081`; `None` if it does not run here.
    pub fn base_url(&self, service: &str) -> Option<&str> {
        self.client.url(service.parse().ok()?).ok()
    }

    /// Returns a client for the running services.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns a running service, for work outside its handlers; `None` if it does not run here.
    pub fn service(&self, service: &str) -> Option<&ServiceHandle> {
        self.handle.service(service)
    }

    /// Waits until the only work left is work that waits for a point in time.
    pub async fn quiet(&self) {
        self.handle.quiet().await;
    }

    /// Stops the services after their running work, and returns whether all of them stopped in time.
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
