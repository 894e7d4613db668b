//! A handle to a store.

use std::sync::Arc;

use super::{Store, StoreError, memory::MemoryStore};

const KNOWN: &str = match (cfg!(feature = "sqlite"), cfg!(feature = "postgres")) {
    (true, true) => "memory:, sqlite::memory:, sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME",
    (true, false) => "memory:, sqlite::memory: or sqlite://PATH, or build with the feature `postgres`",
    (false, true) => "memory: or postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME, or build with the feature `sqlite`",
    (false, false) => "memory:, or build with the feature `sqlite` or `postgres`",
};

/// Where a database is and how it is used, whichever it is: a URL, read once for everything that opens it.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "there is one of a database, and it is moved a few times")]
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

    /// # Errors
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

/// A service's database, by URL or as a store of one's own. Cheap to clone.
#[derive(Clone)]
pub struct Database(Arc<dyn Store>);

impl Database {
    /// The database behind `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// A database in memory, without SQL, for tests of handlers that write nothing.
    pub fn memory() -> Self {
        Self::new(Arc::new(MemoryStore::default()))
    }

    /// Opens `url`: `memory:`, `sqlite::memory:`, `sqlite://PATH`, where the file is created when it is missing, or
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME&pool=8`, where the schema is.
    ///
    /// # Errors
    /// When the URL names no database this build knows, or the database cannot be opened.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url.parse()?).await
    }

    /// Opens the database that `options` name, as [`open`](Self::open) does the one of a URL.
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

    /// Opens `url`, the database of a program that runs or of one that does not, for reading only: nothing is made, migrated or
    /// written. [`StoreError::Contended`] is what reading answers when a program has opened a file meanwhile: open it again.
    ///
    /// # Errors
    /// When the URL names no database that can be read, the database cannot be opened, or its tables are not those of this
    /// program.
    pub async fn read_only(url: &str) -> Result<Self, StoreError> {
        Self::there(url.parse()?, Access::Read).await
    }

    /// As [`read_only`](Self::read_only), all that lies behind `url`: of a PostgreSQL database whose schema the URL does not name,
    /// every schema that has the framework's tables, in the order of names.
    ///
    /// # Errors
    /// As [`read_only`](Self::read_only), and [`StoreError::NotMigrated`] when there is no such schema.
    pub async fn read_all(url: &str) -> Result<Vec<Self>, StoreError> {
        Self::all(url, Access::Read).await
    }

    /// As [`read_all`](Self::read_all), for writing too: beside the programs that run on it, or after they have stopped. Nothing is made
    /// or migrated.
    ///
    /// # Errors
    /// As [`read_all`](Self::read_all), and when a file cannot be written.
    pub async fn existing(url: &str) -> Result<Vec<Self>, StoreError> {
        Self::all(url, Access::Write).await
    }

    /// What `options` name, as it is.
    #[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), expect(unused_variables, reason = "there is nothing to open"))]
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

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0
    }
}

/// What a database that is there is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn unknown(url: &str) -> StoreError {
    // Only the scheme: the rest may hold a password.
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    StoreError::Refused(format!(
        "this build knows no database for a URL that begins with `{}:`; write {KNOWN}",
        scheme.chars().filter(char::is_ascii_alphanumeric).take(20).collect::<String>()
    ))
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Database")
    }
}
