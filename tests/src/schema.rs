//! A PostgreSQL schema for one test, and databases that are created for a test.

use sagas::Database;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

use crate::eventually;

/// A schema for one test. Dropping this value drops the schema.
pub struct Schema(String);

/// Returns the URL of the server's database, without a schema.
pub fn server() -> String {
    std::env::var("SAGAS_TEST_POSTGRES").unwrap_or_else(|_| "postgres://sagas:sagas@127.0.0.1:5432/sagas".into())
}

/// Drops the database `name`, with its connections.
///
/// It is tried repeatedly: the server refuses while its own vacuum uses the database, because only a superuser may end it.
///
/// # Panics
/// Panics when it still exists after a while.
pub async fn drop_database(server: &str, name: &str) {
    eventually(&format!("the database {name} is gone"), async || {
        let mut connection = PgConnection::connect(server).await.ok()?;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")))).await.ok()
    })
    .await;
}

impl Schema {
    /// Chooses a new name; the schema is created when it is opened.
    #[expect(clippy::new_without_default, reason = "each has another name")]
    #[expect(clippy::disallowed_methods, reason = "each run needs another name")]
    pub fn new() -> Self {
        Self(format!("test_{}", Uuid::new_v4().simple()))
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Returns the URL.
    pub fn url(&self) -> String {
        let server = server();
        format!("{server}{}schema={}", if server.contains('?') { '&' } else { '?' }, self.0)
    }

    /// Opens the database of the schema, as another process would.
    ///
    /// # Panics
    /// Panics when the server cannot be reached.
    pub async fn open(&self) -> Database {
        Database::open(&self.url()).await.unwrap_or_else(|error| panic!("{error}; scripts/postgres start"))
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (server, sql) = (server(), format!("DROP SCHEMA IF EXISTS {} CASCADE", self.0));
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(async {
                let mut connection = PgConnection::connect(&server).await?;
                connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await
            })
        });
        if let Ok(Err(error)) = dropped.join() {
            #[expect(clippy::print_stderr, reason = "so that the schema can be dropped by hand")]
            let () = eprintln!("{} stays: {error}", self.0);
        }
    }
}
