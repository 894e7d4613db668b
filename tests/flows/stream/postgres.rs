//! A database for one test on the PostgreSQL server of `SAGAS_TEST_POSTGRES`.

use std::time::Duration;

use ecommerce::Storage;
use sagas::{id::IdSource, prelude::*, time::Clock};
use sagas_tests::schema::drop_database;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

pub(super) struct Scratch {
    name: String,
}

impl Scratch {
    pub(super) async fn new() -> Self {
        let name = format!("stream_{}", IdSource::random().uuid(Clock::system().now()).simple());
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connect().await).await.unwrap();
        Self { name }
    }

    /// Returns the storage of a service, with at most 8 connections.
    pub(super) fn storage(&self) -> Storage {
        Storage::Postgres(self.url().parse().unwrap())
    }

    /// Opens the database.
    pub(super) async fn open(&self) -> Database {
        Database::open(&self.url()).await.unwrap()
    }

    fn url(&self) -> String {
        let server = server();
        let (place, _) = server.rsplit_once('/').unwrap();
        format!("{place}/{}?pool=11", self.name)
    }

    /// Returns the number of deadlocks, once all connections are closed: a connection reports its statistics at its end at the
    /// latest.
    pub(super) async fn deadlocks(&self) -> i64 {
        let mut connection = connect().await;
        let counted = async {
            loop {
                let query =
                    sqlx::query_as("SELECT numbackends, deadlocks FROM pg_stat_database WHERE datname = $1").bind(&self.name);
                let (connected, deadlocks): (i32, i64) = query.fetch_one(&mut connection).await.unwrap();
                if connected == 0 {
                    return deadlocks;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), counted).await.expect("the service's connections end with it")
    }

    pub(super) async fn drop(self) {
        drop_database(&server(), &self.name).await;
    }
}

/// Returns the URL of PostgreSQL.
fn server() -> String {
    std::env::var("SAGAS_TEST_POSTGRES").unwrap_or_else(|_| "postgres://sagas:sagas@127.0.0.1:5432/sagas".to_owned())
}

async fn connect() -> PgConnection {
    PgConnection::connect(&server()).await.expect("a PostgreSQL server: scripts/postgres start")
}
