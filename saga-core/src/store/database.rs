//! A handle to a store.

use std::sync::Arc;

use super::{Store, StoreError, memory::MemoryStore};

const KNOWN: &str = match (cfg!(feature = "sqlite"), cfg!(feature = "postgres")) {
    (true, true) => "memory:, sqlite::memory:, sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME",
    (true, false) => "memory:, sqlite::memory: or sqlite://PATH, or build with the feature `postgres`",
    (false, true) => "memory: or postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME, or build with the feature `sqlite`",
    (false, false) => "memory:, or build with the feature `sqlite` or `postgres`",
};

/// The location and the settings of a database of any kind, parsed from a URL.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "one value for each database, and it is moved only a few times")]
pub enum DatabaseOptions {
    /// A database in memory, without SQL.
    Memory,
    /// A SQLite database.
    #[cfg(feature = "sqlite")]
    Sqlite(super::sqlite::SqliteOptions),
    /// A schema of a PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(super::postgres::PostgresOptions),
}

impl std::str::FromStr for DatabaseOptions {
    type Err = StoreError;

    /// When this build does not support the database that the URL names, or when the URL is not valid.
    /// When the URL names no database that this build knows, or not in a way that can be used.
    fn from_str(url: &str) -> Result<Self, StoreError> {
        match url.split_once(':').map_or(url, |(scheme, _)| scheme) {
            "memory" if url == "memory:" => Ok(Self::Memory),
            #[cfg(feature = "sqlite")]
            "sqlite" => url.parse().map(Self::Sqlite),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => url.parse().map(Self::Postgres),
            _ => Err(unknown(url)),
        }
    }
}

/// A service's database, opened by URL or created from a [`Store`]. Cheap to clone.
#[derive(Clone)]
pub struct Database(Arc<dyn Store>);

impl Database {
    /// Creates a database from `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Creates a database in memory, without SQL, for tests of handlers that write nothing.
    pub fn memory() -> Self {
        Self::new(Arc::new(MemoryStore::default()))
    }

    /// Opens `url`: `memory:`; `sqlite::memory:`; `sqlite://PATH`, whose file is created if it does not exist; or
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME&pool=8`, whose schema is created if it does not exist.
    ///
    /// # Errors
    /// When this build does not support the database that the URL names, or when the database cannot be opened.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url.parse()?).await
    }

    /// Opens the database that `options` describe, as [`open`](Self::open) does for a URL.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub async fn open_with(options: DatabaseOptions) -> Result<Self, StoreError> {
        match options {
            DatabaseOptions::Memory => Ok(Self::memory()),
            #[cfg(feature = "sqlite")]
            DatabaseOptions::Sqlite(options) => Ok(Self::new(Arc::new(super::sqlite::SqliteStore::open(options).await?))),
            #[cfg(feature = "postgres")]
            DatabaseOptions::Postgres(options) => Ok(Self::new(Arc::new(super::postgres::PostgresStore::open(options).await?))),
        }
    }

    /// Opens the database of a program, running or not, for reading only. Nothing is created, migrated or written. If a program opens a
    /// SQLite file in the meantime, a read can return [`StoreError::Contended`]; open the database again.
    ///
    /// # Errors
    /// When the URL does not name a database that can be read, when the database cannot be opened, or when its tables are not those of this
    /// program.
    pub async fn read_only(url: &str) -> Result<Self, StoreError> {
        Self::there(url.parse()?, Access::Read).await
    }

    /// As [`read_only`](Self::read_only), for all schemas behind `url`: for a PostgreSQL database without a schema in the URL, every schema
    /// that has the framework's tables, ordered by name.
    ///
    /// # Errors
    /// As [`read_only`](Self::read_only), and [`StoreError::NotMigrated`] when no such schema exists.
    pub async fn read_all(url: &str) -> Result<Vec<Self>, StoreError> {
        Self::all(url, Access::Read).await
    }

    /// As [`read_all`](Self::read_all), but also for writing, while the programs of the database run or after they have stopped. Nothing is
    /// created or migrated.
    ///
    /// # Errors
    /// As [`read_all`](Self::read_all), and when a file cannot be written.
    pub async fn existing(url: &str) -> Result<Vec<Self>, StoreError> {
        Self::all(url, Access::Write).await
    }

    /// Opens the database that `options` describe, if it exists.
    #[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), expect(unused_variables, reason = "used by SQL stores only"))]
    async fn there(options: DatabaseOptions, access: Access) -> Result<Self, StoreError> {
        match options {
            DatabaseOptions::Memory => {
                Err(StoreError::Refused("a database in memory is its program's alone; name one that others can open".into()))
            }
            #[cfg(feature = "sqlite")]
            DatabaseOptions::Sqlite(options) => {
                use super::sqlite::SqliteStore;
                Ok(Self::new(Arc::new(match access {
                    Access::Read => SqliteStore::open_read_only(options).await?,
                    Access::Write => SqliteStore::open_existing(options).await?,
                })))
            }
            #[cfg(feature = "postgres")]
            DatabaseOptions::Postgres(options) => {
                use super::postgres::PostgresStore;
                Ok(Self::new(Arc::new(match access {
                    Access::Read => PostgresStore::open_read_only(options).await?,
                    Access::Write => PostgresStore::open_existing(options).await?,
                })))
            }
        }
    }

    async fn all(url: &str, access: Access) -> Result<Vec<Self>, StoreError> {
        match url.parse()? {
            #[cfg(feature = "postgres")]
            DatabaseOptions::Postgres(options) if !options.names_a_schema() => {
                let mut databases = Vec::new();
                for schema in super::postgres::PostgresStore::schemas(options.clone()).await? {
                    let options = options.clone().schema(schema)?;
                    databases.push(Self::there(DatabaseOptions::Postgres(options), access).await?);
                }
                match databases.is_empty() {
                    true => Err(StoreError::NotMigrated(format!(
                        "{}: no schema has the framework's tables; name the database of services, which make them when they start",
                        options.server()
                    ))),
                    false => Ok(databases),
                }
            }
            options => Ok(vec![Self::there(options, access).await?]),
        }
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0
    }
}

/// What an existing database is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn unknown(url: &str) -> StoreError {
    // The message contains only the scheme, because the rest of the URL can contain a password.
    let Some((scheme, _)) = url.split_once(':') else {
        return StoreError::Refused(format!(
            "a database is named by a URL, and this one has no scheme, as `sqlite:`; write {KNOWN}"
        ));
    };
    StoreError::Refused(format!(
        "this build supports no database for a URL that begins with `{}:`; write {KNOWN}",
        scheme.chars().filter(char::is_ascii_alphanumeric).take(20).collect::<String>()
    ))
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Database")
    }
}
