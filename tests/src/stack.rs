//! The log and the databases of a shop: the embedded log and SQLite, or real servers.

use std::{path::Path, sync::Arc};

use ecommerce::Storage;
use sagas::{
    id::IdSource,
    kafka::{Kafka, KafkaConfig},
    port::transport::Transport,
    time::Clock,
    transport::embedded::{Embedded, EmbeddedOptions},
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::{prefixed::Prefixed, schema::drop_database};

/// The variable that selects the stack of this run: `real` for Apache Kafka and PostgreSQL, anything else for the embedded one.
const STACK: &str = "SAGAS_TEST_STACK";
/// The variable with the address of Apache Kafka, and its default.
const KAFKA: (&str, &str) = ("SAGAS_TEST_KAFKA", "127.0.0.1:9092");
/// The variable with the URL of PostgreSQL, and its default.
const POSTGRES: (&str, &str) = ("SAGAS_TEST_POSTGRES", "postgres://sagas:sagas@127.0.0.1:5432/sagas");

/// A log and databases for one shop.
pub(crate) struct Stack {
    pub(crate) log: Arc<dyn Transport>,
    pub(crate) storage: Storage,
    /// The URL of the server, and the name of the database that was created for this shop.
    database: Option<(String, String)>,
}

/// Returns whether the shops use Apache Kafka and PostgreSQL.
pub fn on_real_servers() -> bool {
    std::env::var(STACK).is_ok_and(|stack| stack == "real")
}

impl Stack {
    /// Opens the stack of this run, with its files in `folder`.
    pub(crate) async fn open(folder: &Path, clock: &Clock) -> Self {
        if on_real_servers() { Self::real(clock).await } else { Self::embedded(folder, clock).await }
    }

    async fn embedded(folder: &Path, clock: &Clock) -> Self {
        let mut options = EmbeddedOptions::default();
        options.clock = clock.clone();
        let log = Embedded::open(folder.join("log"), options).await.unwrap();
        Self { log, storage: Storage::Files, database: None }
    }

    async fn real(clock: &Clock) -> Self {
        let name = format!("shop_{}", IdSource::random().uuid(clock.now()).simple());
        let config: KafkaConfig = format!("kafka://{}", setting(KAFKA)).parse().unwrap();
        let kafka = Kafka::connect(config).await.unwrap_or_else(|error| panic!("{error}; scripts/kafka start"));
        let log = Arc::new(Prefixed::new(kafka, &format!("{name}.")));
        let server = setting(POSTGRES);
        run(&server, format!("CREATE DATABASE {name}")).await;
        let (place, _) = server.rsplit_once('/').expect("a URL that names a database");
        let storage = Storage::Postgres(format!("{place}/{name}?pool=9").parse().unwrap());
        Self { log, storage, database: Some((server, name)) }
    }

    /// Connects to the database of the shop, if it is PostgreSQL.
    pub(crate) async fn postgres(&self) -> Option<PgConnection> {
        match &self.storage {
            Storage::Postgres(options) => Some(options.connect_options().connect().await.unwrap()),
            _ => None,
        }
    }

    /// Closes the log, and drops the database that was created for the shop.
    pub(crate) async fn close(&self) {
        self.log.close().await;
        if let Some((server, name)) = &self.database {
            drop_database(server, name).await;
        }
    }
}

fn setting((name, default): (&str, &str)) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

async fn run(server: &str, sql: String) {
    let connected = PgConnection::connect(server).await;
    let mut connection = connected.unwrap_or_else(|error| panic!("PostgreSQL: {error}; is it there? scripts/postgres start"));
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
