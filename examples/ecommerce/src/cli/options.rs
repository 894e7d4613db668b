//! The settings: flags, environment variables `ECOMMERCE_*`, a TOML file and defaults, in this order of precedence.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgAction, Args, Parser, Subcommand};
use sagas::{
    Settings, TraceSettings, Traces, TracesError,
    config::{ConfigError, load},
    kafka::{KafkaConfig, config::KafkaConfigError},
    store::{StoreError, postgres::PostgresOptions},
    time::duration,
};
use serde::{Deserialize, Serialize};

use super::bench::Load;
use crate::{
    Broker, Config, OperatorToken, ServiceName, Storage,
    app::{peers, ports},
    client::Client,
};

/// An order system of five services in one process.
///
/// Every flag can also be given as an environment variable (--base-port as ECOMMERCE_BASE_PORT) and in a TOML file (base_port).
/// Flags take precedence over the environment, and the environment over the file.
#[derive(Debug, Parser)]
#[command(name = "ecommerce", version)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    /// The TOML file with settings
    #[arg(long, value_name = "FILE", env = "ECOMMERCE_CONFIG", global = true)]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) flags: Flags,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Place orders and measure the system
    Bench(Load),
    /// Check the invariants of the running system or, if it is not running, of its data
    Check,
    /// Check whether the running services can accept work: exit code 0 if all of them can
    Health,
}

/// The settings as flags.
#[derive(Debug, Default, Args, Serialize)]
pub(super) struct Flags {
    /// The folder for all data [default: ./ecommerce-data]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// The port of the order service; the other services use the ports that follow. 0 chooses a free port for each [default:
    /// 8081]
    #[arg(long, value_name = "PORT", global = true)]
    base_port: Option<u16>,
    /// The address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", global = true)]
    host: Option<IpAddr>,
    /// Run only these services, separated by commas
    #[arg(long, value_name = "NAMES", global = true)]
    services: Option<String>,
    /// embedded, or kafka://host:port[,host:port] [default: embedded]
    #[arg(long, value_name = "URL", global = true)]
    broker: Option<String>,
    /// sqlite, or postgres://… [default: sqlite]
    #[arg(long, value_name = "URL", global = true)]
    database: Option<String>,
    /// How long an order can be undecided before it is cancelled, such as 90s or 1h30m [default: 15m]
    #[arg(long, value_name = "TIME", global = true)]
    order_deadline: Option<String>,
    /// The file with the token that operators send in `Authorization: Bearer`. On an address that is not a loopback address,
    /// reading messages and acting takes the token; it can be given in ECOMMERCE_OPERATOR_TOKEN instead
    #[arg(long, value_name = "FILE", global = true)]
    operator_token_file: Option<PathBuf>,
    /// The URLs of services on other machines: inventory=http://inventory:8082,payment=http://payment:8083
    #[arg(long, value_name = "SERVICE=URL,..", global = true)]
    peers: Option<String>,
    /// The collector of traces: grpc://host:4317 or http://host:4318 [default: none, or OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL", global = true)]
    otlp: Option<String>,
    /// The share of traces that is recorded, from 0 to 1 [default: 1, or OTEL_TRACES_SAMPLER]
    #[arg(long, value_name = "PART", global = true)]
    trace_ratio: Option<f64>,
    /// Do not play the demo
    #[arg(long, global = true, action = ArgAction::SetTrue)]
    #[serde(serialize_with = "if_set")]
    no_demo: bool,
    /// Which scenarios the demo plays: short, or all [default: short]
    #[arg(long, value_name = "FLOWS", global = true)]
    demo: Option<String>,
    /// Exit after the demo, with code 0 only if every scenario ended as expected
    #[arg(long, global = true, action = ArgAction::SetTrue)]
    #[serde(serialize_with = "if_set")]
    once: bool,
    /// Print results as JSON, one value per line
    #[arg(long, global = true, action = ArgAction::SetTrue)]
    #[serde(serialize_with = "if_set")]
    json: bool,
}

/// Serializes a flag only if it is set: a flag that was not given must not override the environment or the file.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn if_set<S: serde::Serializer>(flag: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    flag.then_some(true).serialize(serializer)
}

/// The settings from all sources.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub(crate) struct Options {
    /// The folder for all data.
    pub data_dir: PathBuf,
    /// The port of the order service; the other services use the ports that follow.
    pub base_port: u16,
    /// The address to listen on.
    pub host: IpAddr,
    /// The services to run, separated by commas.
    pub services: String,
    /// The log.
    pub broker: String,
    /// The databases.
    pub database: String,
    /// How long an order can be undecided before it is cancelled.
    pub order_deadline: String,
    /// The file with the operator's token.
    pub operator_token_file: Option<PathBuf>,
    /// The operator's token, used without `operator_token_file`.
    pub operator_token: Option<OperatorToken>,
    /// The URLs of services on other machines.
    pub peers: String,
    /// The collector of traces.
    pub otlp: Option<String>,
    /// The share of traces that is recorded.
    pub trace_ratio: Option<f64>,
    /// Whether the demo is skipped.
    pub no_demo: bool,
    /// Which scenarios the demo plays.
    pub demo: Flows,
    /// Whether to exit after the demo.
    pub once: bool,
    /// Whether results are printed as JSON.
    pub json: bool,
    /// The limits of each service.
    pub limits: Settings,
}

/// Which scenarios the demo plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Flows {
    /// Those that end quickly and without an operator.
    Short,
    /// All scenarios.
    All,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./ecommerce-data"),
            base_port: 8081,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            services: ServiceName::ALL.map(ServiceName::as_str).join(","),
            broker: "embedded".to_owned(),
            database: "sqlite".to_owned(),
            order_deadline: "15m".to_owned(),
            operator_token_file: None,
            operator_token: None,
            peers: String::new(),
            otlp: None,
            trace_ratio: None,
            no_demo: false,
            demo: Flows::Short,
            once: false,
            json: false,
            limits: Settings::default(),
        }
    }
}

/// The error of invalid settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionsError {
    /// A setting is unknown or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A service name is unknown.
    #[error("--services: {0}")]
    Services(String),
    /// `--once` together with `--no-demo`.
    #[error("--once and --no-demo contradict each other: --once ends after the demo; leave one of them out")]
    OnceWithoutDemo,
    /// `--once` without all five services, which the demo needs.
    #[error("--once plays the demo, which needs all five services; leave out --once or --services")]
    OnceWithoutServices,
    /// `--once` on an address where the demo needs an operator token, without one.
    #[error(
        "--once plays the demo, which sets switches that are for operators: on an address that others can reach give it \
         --operator-token-file or ECOMMERCE_OPERATOR_TOKEN, or leave out --host"
    )]
    OnceWithoutToken,
    /// The URL of Apache Kafka is invalid.
    #[error("--broker: {0}; or write `embedded`")]
    Kafka(#[from] KafkaConfigError),
    /// The URL of PostgreSQL is invalid.
    #[error("--database: {0}; or write `sqlite`")]
    Database(#[from] StoreError),
    /// The deadline is not a time, or is out of range.
    #[error("--order-deadline {0}: write a time from 1s to 1d, as 90s, 15m or 1h30m")]
    OrderDeadline(String),
    /// The operator's token is invalid.
    #[error("{0}")]
    Token(String),
    /// The URL of a service is invalid.
    #[error("--peers: {0}")]
    Peers(String),
    /// The port is 0 where a known port is needed.
    #[error("--base-port 0 is any free port: name the one on which the services run")]
    AnyPort,
    /// The HTTP client cannot be created.
    #[error("no HTTP client: {0}")]
    Client(String),
    /// The settings of traces are invalid.
    #[error("--otlp, --trace-ratio: {0}")]
    Traces(#[from] TracesError),
    /// The database URL has a parameter that the program sets itself.
    #[error("--database: leave out `schema`, every service has one of its own, called like the service")]
    Schema,
}

impl Options {
    /// Loads the settings from `flags`, the environment, the file at `path` and the defaults.
    ///
    /// # Errors
    /// When a setting is unknown or invalid.
    pub(super) fn load(path: Option<&Path>, flags: &Flags) -> Result<Self, OptionsError> {
        let options: Self = load(Self::default(), path, "ECOMMERCE_", flags)?;
        options.broker()?;
        options.storage()?;
        options.deadline()?;
        options.traces()?;
        options.services()?;
        options.token()?;
        options.peers()?;
        Ok(options)
    }

    /// Checks that `--once` has a demo to play.
    ///
    /// # Errors
    /// When the demo cannot be played with these settings.
    pub(super) fn check_once(&self) -> Result<(), OptionsError> {
        match self.once {
            true if self.no_demo => Err(OptionsError::OnceWithoutDemo),
            true if self.services()?.len() < ServiceName::ALL.len() => Err(OptionsError::OnceWithoutServices),
            true if !self.turns_switches()? => Err(OptionsError::OnceWithoutToken),
            _ => Ok(()),
        }
    }

    /// Returns whether the demo can change the switches of the gateway and the providers, which is for operators.
    ///
    /// # Errors
    /// When the operator's token is invalid.
    pub(super) fn turns_switches(&self) -> Result<bool, OptionsError> {
        Ok(self.host.to_canonical().is_loopback() || self.token()?.is_some())
    }

    fn broker(&self) -> Result<Broker, OptionsError> {
        match self.broker.as_str() {
            "embedded" => Ok(Broker::Embedded),
            url => {
                let config: KafkaConfig = url.parse()?;
                config.check()?;
                Ok(Broker::Kafka(config))
            }
        }
    }

    /// Returns where the services store their data.
    ///
    /// # Errors
    /// When the database URL is invalid.
    pub(crate) fn storage(&self) -> Result<Storage, OptionsError> {
        match self.database.as_str() {
            "sqlite" => Ok(Storage::Files),
            url => match url.parse::<PostgresOptions>()? {
                options if options.names_a_schema() => Err(OptionsError::Schema),
                options => Ok(Storage::Postgres(options)),
            },
        }
    }

    /// Returns that place as text for people.
    pub(crate) fn place(&self) -> String {
        match self.storage() {
            Ok(Storage::Postgres(options)) => options.server(),
            _ => self.data_dir.display().to_string(),
        }
    }

    fn deadline(&self) -> Result<Duration, OptionsError> {
        let sensible = Duration::from_secs(1)..=Duration::from_secs(86_400);
        let parsed = duration::parse(&self.order_deadline).filter(|deadline| sensible.contains(deadline));
        parsed.ok_or_else(|| OptionsError::OrderDeadline(self.order_deadline.clone()))
    }

    /// Returns the operator's token: from the file, or else from the setting.
    ///
    /// # Errors
    /// When the token is invalid.
    pub(crate) fn token(&self) -> Result<Option<OperatorToken>, OptionsError> {
        match (&self.operator_token_file, &self.operator_token) {
            (Some(path), _) => match OperatorToken::read(path) {
                Ok(token) => Ok(Some(token)),
                Err(why) => Err(OptionsError::Token(format!("--operator-token-file: {why}"))),
            },
            (None, Some(token)) => match token.clone().checked() {
                Ok(token) => Ok(Some(token)),
                Err(why) => Err(OptionsError::Token(format!("ECOMMERCE_OPERATOR_TOKEN: {why}"))),
            },
            (None, None) => Ok(None),
        }
    }

    fn peers(&self) -> Result<BTreeMap<ServiceName, String>, OptionsError> {
        peers::parse(&self.peers).map_err(OptionsError::Peers)
    }

    /// Returns the URLs of the services of this process, for calls from this machine.
    ///
    /// # Errors
    /// When `base_port` is 0.
    pub(crate) fn urls(&self) -> Result<BTreeMap<ServiceName, String>, OptionsError> {
        if self.base_port == 0 {
            return Err(OptionsError::AnyPort);
        }
        let own = self.services()?;
        Ok(ports::urls(self.host, self.base_port).into_iter().filter(|(service, _)| own.contains(service)).collect())
    }

    /// Creates a client for the whole system: the services of this process and those elsewhere.
    ///
    /// # Errors
    /// When the token or a URL is invalid, or when the HTTP client cannot be created.
    pub(crate) fn client(&self) -> Result<Client, OptionsError> {
        let mut urls = ports::urls(self.host, self.base_port);
        urls.extend(self.peers()?);
        let client = Client::new(urls).map_err(|error| OptionsError::Client(error.to_string()))?;
        Ok(client.operator(self.token()?.as_ref().map(OperatorToken::as_str)))
    }

    fn traces(&self) -> Result<Traces, OptionsError> {
        let mut settings = TraceSettings::default();
        settings.endpoint.clone_from(&self.otlp);
        settings.ratio = self.trace_ratio;
        Ok(Traces::otlp(&settings)?)
    }

    fn services(&self) -> Result<Vec<ServiceName>, OptionsError> {
        let names = self.services.split(',').map(str::trim);
        let mut services = names.map(str::parse).collect::<Result<Vec<_>, _>>().map_err(OptionsError::Services)?;
        services.sort_unstable();
        services.dedup();
        Ok(services)
    }

    /// Returns the configuration with which the services are started.
    ///
    /// # Errors
    /// When a service is unknown.
    pub(crate) fn to_config(&self) -> Result<Config, OptionsError> {
        let mut config = Config::new(&self.data_dir).base_port(self.base_port);
        config.host = self.host;
        config.services = self.services()?;
        config.broker = self.broker()?;
        config.storage = self.storage()?;
        config.settings = self.limits.clone();
        config.order_deadline = self.deadline()?;
        config.operator_token = self.token()?;
        config.peers = self.peers()?;
        config.traces = self.traces()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn services_are_named_once_and_in_order() {
        let options = |services: &str| Options { services: services.to_owned(), ..Options::default() };
        let expected = vec![ServiceName::Payment, ServiceName::Notification];
        assert_eq!(options("notification, payment,payment").services().unwrap(), expected);
        let error = options("payment,delivery").services().unwrap_err().to_string();
        assert!(error.contains("`delivery` is not a service; the services are order, inventory"), "{error}");
    }

    fn given(broker: &str, database: &str) -> Result<Options, OptionsError> {
        let flags = Flags { broker: Some(broker.to_owned()), database: Some(database.to_owned()), ..Flags::default() };
        Options::load(None, &flags)
    }

    #[test]
    fn servers_are_named_by_their_addresses() {
        let options = given("kafka://127.0.0.1:9092", "postgres://me:secret@db:5432/shop").unwrap();
        assert!(matches!(options.broker().unwrap(), Broker::Kafka(_)));
        assert!(matches!(options.storage().unwrap(), Storage::Postgres(_)));
        assert_eq!(options.place(), "PostgreSQL at db:5432, database `shop`");
        assert!(!format!("{:?}", options.storage()).contains("secret"));
        let socket = given("embedded", "postgres:///shop?host=/run/my%20db&user=u&password=a%2Fb").unwrap();
        assert_eq!(socket.place(), "PostgreSQL at /run/my db, database `shop`");
    }

    #[test]
    fn what_is_not_supported_is_refused_without_its_password() {
        for (broker, database, what) in [
            (
                "embedded",
                "mysql://me:secret@db:5432/shop",
                "--database: the database refused: the database URL does not begin with `postgres://`",
            ),
            ("embedded", "postgres://me:secret@db:port/shop", "`port` that is no number"),
            ("embedded", "postgres://me:secret@db/shop?pol=3", "`pol`, which is not known"),
            ("nats://me:secret@localhost:1", "sqlite", "--broker: the Kafka URL does not begin with kafka://"),
            ("kafka://", "sqlite", "no broker is named"),
        ] {
            let error = given(broker, database).unwrap_err().to_string();
            assert!(error.contains(what) && !error.contains("secret"), "{error}");
        }
        for named in ["schema=x", "%73chema=x", "pool=6&schema=x"] {
            assert!(matches!(given("embedded", &format!("postgres://db/shop?{named}")), Err(OptionsError::Schema)), "{named}");
        }
    }
}
