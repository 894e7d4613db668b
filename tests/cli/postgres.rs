//! The program on PostgreSQL, with a schema for each service.

use sagas::Database;
use sagas_tests::{process::Program, schema::drop_database};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{
    letters::letter,
    program::{PATIENCE, is_refused, sagas},
    records::Services,
};

/// A database of one test.
struct Own {
    server: String,
    name: String,
}

impl Own {
    /// Chooses a name for a database, which is created later.
    fn fresh() -> Self {
        let server =
            std::env::var("SAGAS_TEST_POSTGRES").unwrap_or_else(|_| "postgres://sagas:sagas@127.0.0.1:5432/sagas".into());
        Self { server, name: format!("cli_{}", std::process::id()) }
    }

    async fn new() -> Self {
        let own = Self::fresh();
        own.run(format!("CREATE DATABASE {}", own.name)).await;
        own
    }

    async fn run(&self, sql: String) {
        let connected = PgConnection::connect(&self.server).await;
        let mut connection = connected.unwrap_or_else(|error| panic!("{error}; scripts/postgres start"));
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    }

    fn url(&self) -> String {
        let (server, parameters) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let server = server.rsplit_once('/').map_or(server, |(server, _)| server);
        let separator = if parameters.is_empty() { "" } else { "?" };
        format!("{server}/{}{separator}{parameters}", self.name)
    }

    fn schema(&self, name: &str) -> String {
        let url = self.url();
        format!("{url}{}schema={name}", if url.contains('?') { '&' } else { '?' })
    }

    async fn open(&self, service: &str) -> Database {
        let database = Database::open(&self.schema(service)).await.unwrap();
        database.store().migrate().await.unwrap();
        database
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn every_schema_is_read_or_the_one_that_is_named() {
    let own = Own::new().await;
    is_refused(sagas(["ps", "--database", &own.url()]), 1, &[&own.name, "no schema has the framework's tables"]).await;
    let services = Services::of(own.open("order").await, own.open("inventory").await, own.open("payment").await).await;
    services.one_of_each().await;

    let run = async |url: &str, args: &[&str]| {
        let ended = Program::run(sagas(args).env("SAGAS_DATABASE", url), PATIENCE).await;
        (ended.status.code(), ended.stdout.join("\n"), ended.stderr)
    };
    let (code, listed, wrong) = run(&own.url(), &["ps", "--all", "--json"]).await;
    assert_eq!((code, listed.lines().count()), (Some(0), 6), "{listed} {wrong}");
    let (code, story, wrong) = run(&own.url(), &["explain", "attention"]).await;
    assert!(code == Some(0) && story.contains("letter-1") && story.contains("waiting for payment"), "{story} {wrong}");
    let (code, found, wrong) = run(&own.url(), &["check"]).await;
    assert!(code == Some(1) && found.contains("7 findings"), "{found} {wrong}");
    let (code, story, wrong) = run(&own.schema("order"), &["explain", "attention"]).await;
    assert!(code == Some(0) && story.contains("the database of that service was not read"), "{story} {wrong}");

    services.stop().await;
    drop_database(&own.server, &own.name).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn letters_are_settled_in_the_schema_of_their_service() {
    let own = Own { name: format!("{}_letters", Own::fresh().name), ..Own::fresh() };
    own.run(format!("CREATE DATABASE {}", own.name)).await;
    let payment = own.open("payment").await;
    // Another service, whose dead letters must not be touched.
    let order = own.open("order").await;
    let letters: Vec<_> = (0..5_000).map(|number| letter(number, "orders", &format!("k{}", number % 50), "nonsense")).collect();
    for (service, database) in [("payment", &payment), ("order", &order)] {
        let mut tx = database.store().begin().await.unwrap();
        tx.insert_dead_letters(service, &letters).await.unwrap();
        tx.commit().await.unwrap();
    }
    let run = async |args: &[&str]| {
        let args = [args, &["--json", "--service", "payment"]].concat();
        let ended = Program::run(sagas(args).env("SAGAS_DATABASE", own.url()), PATIENCE).await;
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        serde_json::from_str::<serde_json::Value>(&ended.stdout[0]).unwrap()
    };
    let discarded = run(&["letters", "discard", "--key", "k7"]).await;
    assert_eq!((&discarded["settled"], &discarded["left"]), (&100.into(), &0.into()));
    let retried = run(&["letters", "retry", "--error", "nonsense", "--limit", "4000"]).await;
    assert_eq!((&retried["settled"], &retried["left"]), (&4_000.into(), &900.into()));
    assert_eq!(run(&["letters", "retry", "--all"]).await["settled"], 900);
    let keys = payment.store().parked_keys("payment").await.unwrap();
    assert_eq!((keys.len(), keys.iter().map(|key| key.count).sum::<usize>()), (49, 4_900));
    let of_key = payment.store().parked("payment", "orders", b"k1", 200).await.unwrap();
    assert!(of_key.iter().map(|message| message.received.offset).is_sorted(), "in the order of their offsets");
    assert_eq!(order.store().dead_letters("order", 0, 0).await.unwrap().1, 5_000);
    for database in [payment, order] {
        database.store().close().await;
    }
    drop_database(&own.server, &own.name).await;
}
