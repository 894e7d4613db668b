//! A handle to a store.

use std::sync::Arc;

use super::{Store, StoreError, memory::MemoryStore};

#[cfg(feature = "sqlite")]
const KNOWN: &str = "memory:, sqlite::memory: or sqlite://PATH";
#[cfg(not(feature = "sqlite"))]
const KNOWN: &str = "memory:, or build with the feature `sqlite`";

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

    /// Opens `url`: `memory:`, `sqlite::memory:`, or `sqlite://PATH`, where the file is created when it is missing.
    ///
    /// # Errors
    /// When the URL names no database this build knows, or the database cannot be opened.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        match url {
            "memory:" => Ok(Self::memory()),
            #[cfg(feature = "sqlite")]
            url if url.starts_with("sqlite:") => Ok(Self::new(Arc::new(super::sqlite::SqliteStore::open(url.parse()?).await?))),
            url => {
                // Only the scheme: the rest may hold a password.
                let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
                Err(StoreError::Refused(format!(
                    "this build knows no database for a URL that begins with `{}:`; write {KNOWN}",
                    scheme.chars().filter(char::is_ascii_alphanumeric).take(20).collect::<String>()
                )))
            }
        }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Database")
    }
}
