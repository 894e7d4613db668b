//! Reads the data of sagas outside a transaction.

use async_trait::async_trait;

use super::{
    super::{
        HistoryEntry, InstanceKey, InstanceQuery, InstanceRecord, OpenVersion, SagaStore, StepRecord, StoreError,
        StoredDefinition,
    },
    PostgresStore, ask,
    statements::{definitions, history, instance_queries as queries, instances, services, steps, tables::Tables},
};
use crate::time::Timestamp;

#[async_trait]
impl SagaStore for PostgresStore {
    async fn services(&self) -> Result<Vec<String>, StoreError> {
        ask!(self, reading, connection => services::all(connection))
    }

    async fn steps(&self, service: &str, instance: &InstanceKey) -> Result<Vec<StepRecord>, StoreError> {
        ask!(self, reading, connection => steps::of(connection, Tables::OnPath, service, &[instance]))
    }

    async fn instance(&self, service: &str, instance: &InstanceKey) -> Result<Option<InstanceRecord>, StoreError> {
        let found: Result<Vec<_>, _> =
            ask!(self, reading, connection => instances::of(connection, Tables::OnPath, service, &[instance]));
        Ok(found?.pop())
    }

    async fn instances(&self, service: &str, query: &InstanceQuery) -> Result<(Vec<InstanceRecord>, u64), StoreError> {
        ask!(self, reading, connection => queries::page(connection, service, query))
    }

    async fn history(&self, service: &str, instance: &InstanceKey) -> Result<Vec<HistoryEntry>, StoreError> {
        ask!(self, reading, connection => history::of(connection, service, instance))
    }

    async fn due(&self, service: &str, now: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError> {
        ask!(self, reading, connection => queries::due(connection, service, now, limit))
    }

    async fn updated_after(&self, service: &str, after: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError> {
        ask!(self, reading, connection => queries::updated_after(connection, service, after, limit))
    }

    async fn next_due(&self, service: &str) -> Result<Option<Timestamp>, StoreError> {
        ask!(self, reading, connection => queries::next_due(connection, service))
    }

    async fn open_versions(&self, service: &str) -> Result<Vec<OpenVersion>, StoreError> {
        ask!(self, reading, connection => queries::open_versions(connection, service))
    }

    async fn attention(&self, service: &str) -> Result<Vec<(String, u64)>, StoreError> {
        ask!(self, reading, connection => queries::attention(connection, service))
    }

    async fn definitions(&self, service: &str) -> Result<Vec<StoredDefinition>, StoreError> {
        ask!(self, reading, connection => definitions::all(connection, service))
    }

    async fn define(&self, service: &str, definition: &StoredDefinition) -> Result<(), StoreError> {
        self.write(async |connection| definitions::keep(connection, service, definition).await).await
    }

    async fn prune(&self, service: &str, steps: Timestamp, instances: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(async |connection| {
            let pruned = steps::prune(connection, service, steps, limit).await?;
            Ok(pruned.max(instances::prune(connection, service, instances, limit).await?))
        })
        .await
    }
}
