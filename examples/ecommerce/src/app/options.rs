//! What can be set from outside: flags, environment variables `ECOMMERCE_*`, a TOML file, defaults, in that order.

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
};
use serde::{Deserialize, Serialize};

use super::{Broker, Config, OperatorToken, ServiceName, Storage, peers, ports};
use crate::client::Client;

/// An order system of five services in one process.
///
/// Every flag can also be given as an environment variable (--base-port as ECOMMERCE_BASE_PORT) and in a TOML file (base_port).
/// Flags come before the environment, the environment before the file.
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
    /// Drive orders through the system and measure it
    Bench(crate::bench::Load),
    /// Check the invariants, of the running system or, when nothing runs, of its data
    Check,
    /// Ask whether the services that run with these settings can take work: exit code 0 when all of them can
    Health,
}

/// The settings as flags.
#[derive(Debug, Default, Args, Serialize)]
pub(super) struct Flags {
    /// Where everything is written [default: ./ecommerce-data]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// The order service's port; the others follow. 0 is any free port for each [default: 8081]
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
    /// How long an order may be undecided before it is cancelled, as 90s or 1h30m [default: 15m]
    #[arg(long, value_name = "TIME", global = true)]
    order_deadline: Option<String>,
    /// The file with the token that operators send in `Authorization: Bearer`. On any address but a loopback one it takes a token to
    /// read messages or to act; ECOMMERCE_OPERATOR_TOKEN can have it instead
    #[arg(long, value_name = "FILE", global = true)]
    operator_token_file: Option<PathBuf>,
    /// Where services run that are not on this machine: inventory=http://inventory:8082,payment=http://payment:8083
    #[arg(long, value_name = "SERVICE=URL,..", global = true)]
    peers: Option<String>,
    /// The collector of traces: grpc://host:4317, or http://host:4318 [default: none, or as OTEL_EXPORTER_OTLP_ENDPOINT says]
    #[arg(long, value_name = "URL", global = true)]
    otlp: Option<String>,
    /// The part of the traces that is recorded, from 0 to 1 [default: 1, or as OTEL_TRACES_SAMPLER says]
    #[arg(long, value_name = "PART", global = true)]
    trace_ratio: Option<f64>,
    /// Do not play the demo
    #[arg(long, global = true, action = ArgAction::SetTrue)]
    #[serde(serialize_with = "if_set")]
    no_demo: bool,
    /// Which flows the demo plays: short, or all [default: short]
    #[arg(long, value_name = "FLOWS", global = true)]
    demo: Option<String>,
    /// Exit after the demo, with code 0 only if every flow ended as it should
    #[arg(long, global = true, action = ArgAction::SetTrue)]
    #[serde(serialize_with = "if_set")]
    once: bool,
    /// Print results as JSON, one value a line
    #[arg(long, global = true, action = ArgAction::SetTrue)]
    #[serde(serialize_with = "if_set")]
    json: bool,
}

/// A flag that is not there overrides nothing.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn if_set<S: serde::Serializer>(flag: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    flag.then_some(true).serialize(serializer)
}

/// The settings, whichever way they came.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub(crate) struct Options {
    /// Where everything is written.
    pub data_dir: PathBuf,
    /// The order service's port; the others follow.
    pub base_port: u16,
    /// The address to listen on.
    pub host: IpAddr,
    /// The services that run, separated by commas.
    pub services: String,
    /// The log.
    pub broker: String,
    /// The databases.
    pub database: String,
    /// How long an order may be undecided before it is cancelled.
    pub order_deadline: String,
    /// The file with the operator's token.
    pub operator_token_file: Option<PathBuf>,
    /// The operator's token, where there is no such file.
    pub operator_token: Option<OperatorToken>,
    /// Where services run that are not on this machine.
    pub peers: String,
    /// The collector of traces.
    pub otlp: Option<String>,
    /// The part of the traces that is recorded.
    pub trace_ratio: Option<f64>,
    /// Whether the demo is left out.
    pub no_demo: bool,
    /// Which flows the demo plays.
    pub demo: Flows,
    /// Whether to exit after the demo.
    pub once: bool,
    /// Whether results are printed as JSON.
    pub json: bool,
    /// The limits of each service.
    pub limits: Settings,
}

/// Which flows the demo plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Flows {
    /// Those that end by themselves, at once.
    Short,
    /// All of them.
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

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionsError {
    /// A setting is unknown, or does not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No such service.
    #[error("--services: {0}")]
    Services(String),
    /// The demo and its end, and no demo.
    #[error("--once and --no-demo contradict each other: --once ends after the demo; leave one of them out")]
    OnceWithoutDemo,
    /// The demo, without all that it plays with.
    #[error("--once plays the demo, which needs all five services; leave out --once or --services")]
    OnceWithoutServices,
    /// The demo, where it may not do what it does.
    #[error(
        "--once plays the demo, which turns switches that are for operators: on an address that others can reach give it \
         --operator-token-file or ECOMMERCE_OPERATOR_TOKEN, or leave out --host"
    )]
    OnceWithoutToken,
    /// An address of Apache Kafka that cannot be used.
    #[error("--broker: {0}; or write `embedded`")]
    Kafka(#[from] KafkaConfigError),
    /// An address of PostgreSQL that cannot be used.
    #[error("--database: {0}; or write `sqlite`")]
    Database(#[from] StoreError),
    /// A time that is none.
    #[error("--order-deadline {0}: write a time from 1s to 1d, as 90s, 15m or 1h30m")]
    OrderDeadline(String),
    /// The operator's token is none.
    #[error("{0}")]
    Token(String),
    /// An address of a service that is none.
    #[error("--peers: {0}")]
    Peers(String),
    /// No port is named where one has to be asked.
    #[error("--base-port 0 is any free port: name the one on which the services run")]
    AnyPort,
    /// No HTTP client can be made.
    #[error("no HTTP client: {0}")]
    Client(String),
    /// Spans cannot be sent as they are to be.
    #[error("--otlp, --trace-ratio: {0}")]
    Traces(#[from] TracesError),
    /// A parameter of the database's address that is ours to set.
    #[error("--database: leave out `schema`, every service has one of its own, called like the service")]
    Schema,
}

impl Options {
    /// The settings that `flags`, the environment, the file at `path` and the defaults make.
    ///
    /// # Errors
    /// When one is unknown, or does not fit.
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

    /// Whether `--once` has a demo to play.
    ///
    /// # Errors
    /// When it has none.
    pub(super) fn check_once(&self) -> Result<(), OptionsError> {
        match self.once {
            true if self.no_demo => Err(OptionsError::OnceWithoutDemo),
            true if self.services()?.len() < ServiceName::ALL.len() => Err(OptionsError::OnceWithoutServices),
            true if !self.turns_switches()? => Err(OptionsError::OnceWithoutToken),
            _ => Ok(()),
        }
    }

    /// Whether the demo may turn the switches of the gateway and the providers, which is for operators.
    ///
    /// # Errors
    /// When the operator's token is none.
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

    /// Where the services keep what they know.
    ///
    /// # Errors
    /// When the address of the database cannot be used.
    pub(crate) fn storage(&self) -> Result<Storage, OptionsError> {
        match self.database.as_str() {
            "sqlite" => Ok(Storage::Files),
            url => match url.parse::<PostgresOptions>()? {
                options if options.names_a_schema() => Err(OptionsError::Schema),
                options => Ok(Storage::Postgres(options)),
            },
        }
    }

    /// Where that is, for people.
    pub(crate) fn place(&self) -> String {
        match self.storage() {
            Ok(Storage::Postgres(options)) => options.server(),
            _ => self.data_dir.display().to_string(),
        }
    }

    fn deadline(&self) -> Result<Duration, OptionsError> {
        let sensible = Duration::from_secs(1)..=Duration::from_secs(86_400);
        let parsed = humantime::parse_duration(&self.order_deadline).ok().filter(|deadline| sensible.contains(deadline));
        parsed.ok_or_else(|| OptionsError::OrderDeadline(self.order_deadline.clone()))
    }

    /// What operators say: what is in the file, or else the token that was given.
    ///
    /// # Errors
    /// When it is no token.
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

    /// Where the services of this process can be called from this machine.
    ///
    /// # Errors
    /// When their ports are any that are free.
    pub(crate) fn urls(&self) -> Result<BTreeMap<ServiceName, String>, OptionsError> {
        if self.base_port == 0 {
            return Err(OptionsError::AnyPort);
        }
        let own = self.services()?;
        Ok(ports::urls(self.host, self.base_port).into_iter().filter(|(service, _)| own.contains(service)).collect())
    }

    /// A client of the whole system: of the services of this process, and of those elsewhere.
    ///
    /// # Errors
    /// When the token or an address is none, or no client can be made.
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

    /// What is to be started.
    ///
    /// # Errors
    /// When a service is named that does not exist.
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
        assert!(error.contains("`delivery` is no service; there are order, inventory"), "{error}");
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
        for named in ["schema=x", "%73chema=x", "pool=3&schema=x"] {
            assert!(matches!(given("embedded", &format!("postgres://db/shop?{named}")), Err(OptionsError::Schema)), "{named}");
        }
    }
}
