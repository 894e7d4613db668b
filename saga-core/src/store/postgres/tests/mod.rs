//! What only PostgreSQL's store can show, on a real server.

#![allow(clippy::unwrap_used)]

#[cfg(feature = "test-util")]
mod conformance;

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{PostgresOptions, PostgresStore};

/// The server that tests use.
fn url() -> String {
    std::env::var("SAGAS_TEST_POSTGRES").unwrap_or_else(|_| "postgres://sagas:sagas@127.0.0.1:5432/sagas".into())
}

/// A schema of a test's own, dropped with it.
struct Schema(String);

impl Schema {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self(format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    fn options(&self) -> PostgresOptions {
        url().parse::<PostgresOptions>().unwrap().schema(&self.0).unwrap()
    }

    async fn open(&self) -> PostgresStore {
        PostgresStore::open(self.options()).await.expect("a PostgreSQL server: scripts/postgres start")
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let sql = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.0);
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut connection = PgConnection::connect(&url()).await?;
                connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await
            })
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("{} stays: {error}", self.0);
        }
    }
}
