//! Where the services keep what they know: a SQLite file each, or a schema each of one PostgreSQL database.

use std::path::{Path, PathBuf};

use sagas::{
    Database,
    id::IdSource,
    store::{DatabaseOptions, postgres::PostgresOptions, sqlite::SqliteOptions},
    time::Clock,
};

use super::{ServiceName, StartError};
use crate::services::payment::{gateway::Gateway, ledger::Ledger};

/// Where the services keep what they know.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "there is one in a program")]
pub enum Storage {
    /// A SQLite file for each, in the data folder.
    Files,
    /// A schema for each, in this PostgreSQL database, and the gateway's tables in its default schema.
    Postgres(PostgresOptions),
}

impl Storage {
    /// The database of a service.
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

    /// The simulated gateway, which remembers what it was asked in a place of its own.
    ///
    /// # Errors
    /// When that cannot be opened.
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

    /// The file that should be there and is not, when `service` has written nothing yet.
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

    /// Where PostgreSQL is: what `SAGAS_TEST_POSTGRES` says.
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
            format!("postgres:///{name}?host={host}&port={port}&user={user}&password={password}&pool=3"),
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
