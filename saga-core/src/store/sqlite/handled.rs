//! Which events services have handled.

use async_trait::async_trait;

use super::{
    super::{Assignment, HandledStore, StoreError, Taken},
    SqliteStore,
    statements::{handled, takers},
};

#[async_trait]
impl HandledStore for SqliteStore {
    async fn events(&self, service: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.read(async |connection| handled::events(connection, service).await).await
    }

    async fn note(&self, service: &str, events: &[(String, String)], forget: &[(String, String)]) -> Result<(), StoreError> {
        self.write(async |connection| handled::note(connection, service, events, forget).await).await
    }

    async fn assign(&self, service: &str, taken: &[Taken]) -> Result<Assignment, StoreError> {
        self.write(async |connection| takers::assign(connection, service, taken).await).await
    }
}
