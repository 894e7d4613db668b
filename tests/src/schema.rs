//! A schema in PostgreSQL for one test.

use sagas::store::Database;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

/// A schema that nobody else uses, dropped with this.
pub struct Schema(String);

fn server() -> String {
    std::env::var("SAGAS_TEST_POSTGRES").unwrap_or_else(|_| "postgres://sagas:sagas@127.0.0.1:5432/sagas".into())
}

impl Schema {
    /// A new name; the schema is made when it is opened.
    #[expect(clippy::new_without_default, reason = "each is another")]
    #[expect(clippy::disallowed_methods, reason = "a name that no other run has")]
    pub fn new() -> Self {
        Self(format!("test_{}", Uuid::new_v4().simple()))
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let server = server();
        format!("{server}{}schema={}", if server.contains('?') { '&' } else { '?' }, self.0)
    }

    /// The database of the schema, as one more process opens it.
    ///
    /// # Panics
    /// When there is no server.
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
            #[expect(clippy::print_stderr, reason = "whoever runs the tests may remove it")]
            let () = eprintln!("{} stays: {error}", self.0);
        }
    }
}
