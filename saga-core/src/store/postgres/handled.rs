//! Which events services have handled.

use async_trait::async_trait;

use super::{
    super::{Assignment, HandledStore, StoreError, Taken},
    PostgresStore, ask,
    statements::{handled, takers},
};

#[async_trait]
impl HandledStore for PostgresStore {
    async fn events(&self, service: &str) -> Result<Vec<(String, String)>, StoreError> {
        ask!(self, reading, connection => handled::events(connection, service))
    }

    async fn note(&self, service: &str, events: &[(String, String)], forget: &[(String, String)]) -> Result<(), StoreError> {
        self.write(async |connection| handled::note(connection, service, events, forget).await).await
    }

    async fn assign(&self, service: &str, taken: &[Taken]) -> Result<Assignment, StoreError> {
        self.write(async |connection| takers::assign(connection, service, taken).await).await
    }
}
