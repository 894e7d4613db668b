//! A handle to a store.

use std::sync::Arc;

use super::{Store, StoreError, memory::MemoryStore};

const KNOWN: &str = match (cfg!(feature = "sqlite"), cfg!(feature = "postgres")) {
    (true, true) => "memory:, sqlite::memory:, sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME",
    (true, false) => "memory:, sqlite::memory: or sqlite://PATH, or build with the feature `postgres`",
    (false, true) => "memory: or postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME, or build with the feature `sqlite`",
    (false, false) => "memory:, or build with the feature `sqlite` or `postgres`",
};

/// What [`Database::read_only`] knows.
const READABLE: &str = match (cfg!(feature = "sqlite"), cfg!(feature = "postgres")) {
    (true, true) => "sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME",
    (true, false) => "sqlite:PATH, or build with the feature `postgres`",
    (false, true) => "postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME, or build with the feature `sqlite`",
    (false, false) => "nothing: build with the feature `sqlite` or `postgres`",
};

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
        match url {
            "memory:" => Ok(Self::memory()),
            #[cfg(feature = "sqlite")]
            url if url.starts_with("sqlite:") => Ok(Self::new(Arc::new(super::sqlite::SqliteStore::open(url.parse()?).await?))),
            #[cfg(feature = "postgres")]
            url if is_postgres(url) => Ok(Self::new(Arc::new(super::postgres::PostgresStore::open(url.parse()?).await?))),
            url => Err(unknown(url, KNOWN)),
        }
    }

    /// Opens `url`, the database of a program that runs or of one that does not, for reading only: nothing is made, migrated or
    /// written. [`StoreError::Contended`] is what reading answers when a program has opened a file meanwhile: open it again.
    ///
    /// # Errors
    /// When the URL names no database that can be read, the database cannot be opened, or its tables are not those of this
    /// program.
    pub async fn read_only(url: &str) -> Result<Self, StoreError> {
        Self::there(url, Access::Read).await
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

    /// What is behind `url`, as it is.
    async fn there(url: &str, access: Access) -> Result<Self, StoreError> {
        match url {
            "memory:" => {
                Err(StoreError::Refused("a database in memory is its program's alone; name one that others can open".into()))
            }
            #[cfg(feature = "sqlite")]
            url if url.starts_with("sqlite:") => {
                use super::sqlite::SqliteStore;
                let options = url.parse()?;
                Ok(Self::new(Arc::new(match access {
                    Access::Read => SqliteStore::open_read_only(options).await?,
                    Access::Write => SqliteStore::open_existing(options).await?,
                })))
            }
            #[cfg(feature = "postgres")]
            url if is_postgres(url) => Self::schema(url.parse()?, access).await,
            url => Err(unknown(url, READABLE)),
        }
    }

    async fn all(url: &str, access: Access) -> Result<Vec<Self>, StoreError> {
        #[cfg(feature = "postgres")]
        if is_postgres(url) && !super::postgres::names_a_schema(url) {
            use super::postgres::{PostgresOptions, PostgresStore};
            let options: PostgresOptions = url.parse()?;
            let mut databases = Vec::new();
            for schema in PostgresStore::schemas(options.clone()).await? {
                databases.push(Self::schema(options.clone().schema(schema)?, access).await?);
            }
            return match databases.is_empty() {
                true => Err(StoreError::NotMigrated(format!(
                    "{}: no schema has the framework's tables; name the database of services, which make them when they start",
                    options.server()
                ))),
                false => Ok(databases),
            };
        }
        Ok(vec![Self::there(url, access).await?])
    }

    #[cfg(feature = "postgres")]
    async fn schema(options: super::postgres::PostgresOptions, access: Access) -> Result<Self, StoreError> {
        use super::postgres::PostgresStore;
        Ok(Self::new(Arc::new(match access {
            Access::Read => PostgresStore::open_read_only(options).await?,
            Access::Write => PostgresStore::open_existing(options).await?,
        })))
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0
    }
}

/// What a database that is there is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), expect(dead_code, reason = "there is nothing to open"))]
enum Access {
    Read,
    Write,
}

#[cfg(feature = "postgres")]
fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres:") || url.starts_with("postgresql:")
}

fn unknown(url: &str, known: &str) -> StoreError {
    // Only the scheme: the rest may hold a password.
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    StoreError::Refused(format!(
        "this build knows no database for a URL that begins with `{}:`; write {known}",
        scheme.chars().filter(char::is_ascii_alphanumeric).take(20).collect::<String>()
    ))
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Database")
    }
}
