//! Tests of the PostgreSQL store on a real server, in addition to the conformance suite.

#![allow(clippy::unwrap_used)]

mod basics;
#[cfg(feature = "test-util")]
mod conformance;
mod faults;
mod fitness;
mod guard;
mod hostile;
mod joined;
mod libpq;
mod opening;
mod ownership;
mod plans;
mod pooler;
mod reading;
mod restart;
mod sagas;
mod search_path;
mod sessions;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{PostgresOptions, PostgresStore, text::quoted};
use crate::store::{Migration, SqlConnection, Store, StoreTx};

const NOTES: &[Migration] = &[Migration {
    version: 1,
    name: "notes",
    sql: "CREATE TABLE notes (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text TEXT UNIQUE);
          CREATE TABLE children (parent BIGINT REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED);",
}];

/// The server of the tests.
fn url() -> String {
    std::env::var("SAGAS_TEST_POSTGRES").unwrap_or_else(|_| "postgres://sagas:sagas@127.0.0.1:5432/sagas".into())
}

/// A schema for one test, dropped with this value.
struct Schema(String);

impl Schema {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self(format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    fn options(&self) -> PostgresOptions {
        url().parse::<PostgresOptions>().unwrap().schema(&self.0).unwrap()
    }

    /// A store without tables.
    async fn open(&self) -> PostgresStore {
        PostgresStore::open(self.options()).await.expect("a PostgreSQL server: scripts/postgres start")
    }

    async fn store(&self) -> PostgresStore {
        self.store_with(self.options()).await
    }

    async fn store_with(&self, options: PostgresOptions) -> PostgresStore {
        let store = PostgresStore::open(options).await.expect("a PostgreSQL server: scripts/postgres start");
        store.migrate().await.unwrap();
        store.migrate_set("notes", NOTES).await.unwrap();
        store
    }

    /// A connection outside the store, in this schema.
    async fn beside(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&url()).await.unwrap();
        connection.execute(sqlx::raw_sql(AssertSqlSafe(format!("SET search_path TO {}", self.0)))).await.unwrap();
        connection
    }

    async fn notes(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT text FROM notes ORDER BY id").fetch_all(&mut self.beside().await).await.unwrap()
    }

    /// The number of the store's connections in `state`, as the server reports it; in any state if `state` is empty.
    async fn connections(&self, state: &str) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND (state = $2 OR $2 = '')";
        sqlx::query_scalar(sql).bind(&self.0).bind(state).fetch_one(&mut self.beside().await).await.unwrap()
    }

    /// Waits until `count` of the store's connections are in `state`.
    async fn until_connections(&self, state: &str, count: i64) {
        let wait = async {
            while self.connections(state).await != count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no {count} connections became `{state}`"));
    }

    /// Closes every connection of the store, as an administrator or a shutdown of the server does.
    async fn terminate(&self) {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
        let _: i64 = sqlx::query_scalar(sql).bind(&self.0).fetch_one(&mut self.beside().await).await.unwrap();
        self.until_connections("", 0).await;
    }
}

/// How long an operation can take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn native(tx: &mut dyn StoreTx) -> &mut PgConnection {
    #[cfg_attr(not(feature = "sqlite"), expect(irrefutable_let_patterns, reason = "there is no other database"))]
    let Some(SqlConnection::Postgres(connection)) = tx.sql() else { panic!("no connection") };
    connection
}

async fn note(tx: &mut dyn StoreTx, text: &str) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO notes (text) VALUES ($1)").bind(text).execute(native(tx)).await?;
    Ok(())
}

async fn run(tx: &mut dyn StoreTx, sql: &'static str) -> sqlx::Result<()> {
    native(tx).execute(sqlx::raw_sql(sql)).await?;
    Ok(())
}

impl Drop for Schema {
    fn drop(&mut self) {
        // A task rolls back open transactions. It does not run while this blocks.
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'; \
             DROP SCHEMA IF EXISTS {} CASCADE",
            self.0,
            quoted(&self.0)
        );
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut connection = PgConnection::connect(&url()).await?;
                connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await
            })
        });
        let dropped = dropped.join().unwrap();
        if !std::thread::panicking() {
            dropped.unwrap();
        }
    }
}

/// Reports why a test is skipped.
#[expect(clippy::print_stderr, reason = "for the output of the tests")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
