//! Reads the data of sagas outside a transaction.

use std::slice::from_ref;

use async_trait::async_trait;

use super::{
    super::{
        HistoryEntry, InstanceKey, InstanceQuery, InstanceRecord, OpenVersion, SagaStore, StepRecord, StoreError,
        StoredDefinition,
    },
    SqliteStore,
    statements::{definitions, history, instances, services, steps},
};
use crate::time::Timestamp;

#[async_trait]
impl SagaStore for SqliteStore {
    async fn services(&self) -> Result<Vec<String>, StoreError> {
        self.read(async |connection| services::all(connection).await).await
    }

    async fn steps(&self, service: &str, instance: &InstanceKey) -> Result<Vec<StepRecord>, StoreError> {
        self.read(async |connection| steps::load(connection, service, from_ref(instance)).await).await
    }

    async fn instance(&self, service: &str, instance: &InstanceKey) -> Result<Option<InstanceRecord>, StoreError> {
        let found = self.read(async |connection| instances::load(connection, service, from_ref(instance)).await).await?;
        Ok(found.into_iter().next())
    }

    async fn instances(&self, service: &str, query: &InstanceQuery) -> Result<(Vec<InstanceRecord>, u64), StoreError> {
        self.read(async |connection| instances::page(connection, service, query).await).await
    }

    async fn history(&self, service: &str, instance: &InstanceKey) -> Result<Vec<HistoryEntry>, StoreError> {
        self.read(async |connection| history::of_instance(connection, service, instance).await).await
    }

    async fn due(&self, service: &str, now: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError> {
        self.read(async |connection| instances::due(connection, service, now, limit).await).await
    }

    async fn updated_after(&self, service: &str, after: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError> {
        self.read(async |connection| instances::updated_after(connection, service, after, limit).await).await
    }

    async fn next_due(&self, service: &str) -> Result<Option<Timestamp>, StoreError> {
        self.read(async |connection| instances::next_due(connection, service).await).await
    }

    async fn open_versions(&self, service: &str) -> Result<Vec<OpenVersion>, StoreError> {
        self.read(async |connection| instances::open_versions(connection, service).await).await
    }

    async fn attention(&self, service: &str) -> Result<Vec<(String, u64)>, StoreError> {
        self.read(async |connection| instances::attention(connection, service).await).await
    }

    async fn definitions(&self, service: &str) -> Result<Vec<StoredDefinition>, StoreError> {
        self.read(async |connection| definitions::all(connection, service).await).await
    }

    async fn define(&self, service: &str, definition: &StoredDefinition) -> Result<(), StoreError> {
        self.write(async |connection| definitions::define(connection, service, definition).await).await
    }

    async fn prune(&self, service: &str, steps: Timestamp, instances: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(async |connection| {
            let steps = steps::prune(connection, service, steps, limit).await?;
            let instances = instances::prune(connection, service, instances, limit).await?;
            Ok(steps.max(instances))
        })
        .await
    }
}
