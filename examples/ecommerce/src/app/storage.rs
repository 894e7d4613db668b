//! Where the services store their data: a SQLite file or a PostgreSQL schema for each.

use std::path::{Path, PathBuf};

use sagas::{
    Database,
    id::IdSource,
    store::{DatabaseOptions, postgres::PostgresOptions, sqlite::SqliteOptions},
    time::Clock,
};

use super::{ServiceName, StartError};
use crate::services::payment::{gateway::Gateway, ledger::Ledger};

/// Where the services store their data.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "a program has only one")]
pub enum Storage {
    /// A SQLite file for each service, in the data folder.
    Files,
    /// A schema for each service in this PostgreSQL database; the gateway's tables are in its default schema.
    Postgres(PostgresOptions),
}

impl Storage {
    /// Opens the database of a service.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) async fn database(&self, data_dir: &Path, service: ServiceName) -> Result<Database, StartError> {
        let (options, place) = match self {
            Self::Files => {
                let path = file(data_dir, service);
                (Ok(DatabaseOptions::Sqlite(SqliteOptions::file(&path))), path.display().to_string())
            }
            Self::Postgres(options) => {
                let place = format!("{} (schema {service})", options.server());
                (options.clone().schema(service.as_str()).map(DatabaseOptions::Postgres), place)
            }
        };
        let opened = async { Database::open_with(options?).await };
        opened.await.map_err(|error| StartError::Database { place, error })
    }

    /// Creates the simulated gateway, with a ledger of its own.
    ///
    /// # Errors
    /// When the ledger cannot be opened.
    pub(crate) async fn gateway(&self, data_dir: &Path, clock: &Clock, ids: &IdSource) -> Result<Gateway, StartError> {
        let (ledger, place) = match self {
            Self::Files => {
                let path = data_dir.join("gateway.sqlite");
                (Ledger::file(&path).await, path.display().to_string())
            }
            Self::Postgres(options) => (Ledger::postgres(options).await, options.server()),
        };
        let ledger = ledger.map_err(|error| StartError::Gateway { place, error })?;
        Ok(Gateway::new(ledger, clock.clone(), ids.clone()))
    }

    /// Returns the database file of `service` if it does not exist because the service has never run.
    pub(crate) fn missing(&self, data_dir: &Path, service: ServiceName) -> Option<PathBuf> {
        match self {
            Self::Files => Some(file(data_dir, service)).filter(|path| !path.is_file()),
            Self::Postgres(_) => None,
        }
    }
}

fn file(data_dir: &Path, service: ServiceName) -> PathBuf {
    data_dir.join(format!("{service}.sqlite"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlx::{AssertSqlSafe, Connection, PgConnection};

    use super::*;

    /// Returns the URL of PostgreSQL, from `SAGAS_TEST_POSTGRES`.
    fn server() -> String {
        std::env::var("SAGAS_TEST_POSTGRES").unwrap_or_else(|_| "postgres://sagas:sagas@127.0.0.1:5432/sagas".to_owned())
    }

    async fn run(sql: String) {
        let mut connection = PgConnection::connect(&server()).await.expect("a PostgreSQL server: scripts/postgres start");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL: scripts/postgres start"]
    async fn the_services_and_the_gateway_open_the_same_database_whichever_way_it_is_written() {
        let server = server();
        let (login, place) = server.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
        let (user, password) = login.split_once(':').unwrap();
        let (host, port) = place.split_once('/').unwrap().0.split_once(':').unwrap();
        let name = format!("shop_{}", std::process::id());
        run(format!("CREATE DATABASE {name}")).await;
        let mut urls = vec![
            format!("postgres:///{name}?host={host}&port={port}&user={user}&password={password}&pool=6"),
            format!("postgres://{login}@{host}:{port}?dbname={name}&options=-c%20statement_timeout%3D60000"),
            format!("postgresql://x@{host}:{port}/y?user={user}&password={password}&dbname={name}&application_name=a+b"),
        ];
        if let Ok(folder) = std::env::var("SAGAS_TEST_POSTGRES_SOCKET") {
            urls.push(format!("postgres:///{name}?host={folder}&port={port}&user={user}"));
        }
        let (clock, ids) = (Clock::system(), IdSource::random());
        for url in urls {
            let storage = Storage::Postgres(url.parse().unwrap());
            let opened =
                storage.database(Path::new(""), ServiceName::Payment).await.unwrap_or_else(|error| panic!("{url}: {error}"));
            opened.store().close().await;
            let gateway = storage.gateway(Path::new(""), &clock, &ids).await.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert!(gateway.kept().await.unwrap().is_empty());
            gateway.close().await;
        }
        run(format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }
}
