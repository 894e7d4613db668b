//! The parts of a store: sagas, replays and handled events.

use async_trait::async_trait;

use super::{
    FaultyStore, NO_IDS,
    StoreOperation::{Read, Write},
};
use crate::{
    store::{
        Assignment, HandledStore, HistoryEntry, InstanceKey, InstanceQuery, InstanceRecord, OpenVersion, Ownership, Replay,
        ReplayId, ReplayStep, ReplayStore, SagaStore, StepRecord, StoreError, StoredDefinition, Taken,
    },
    time::Timestamp,
};

#[async_trait]
impl SagaStore for FaultyStore {
    async fn services(&self) -> Result<Vec<String>, StoreError> {
        self.shared.run(Read, "sagas.services", NO_IDS, self.inner.sagas().services()).await
    }

    async fn steps(&self, service: &str, instance: &InstanceKey) -> Result<Vec<StepRecord>, StoreError> {
        self.shared.run(Read, "sagas.steps", [&instance.id], self.inner.sagas().steps(service, instance)).await
    }

    async fn instance(&self, service: &str, instance: &InstanceKey) -> Result<Option<InstanceRecord>, StoreError> {
        self.shared.run(Read, "sagas.instance", [&instance.id], self.inner.sagas().instance(service, instance)).await
    }

    async fn instances(&self, service: &str, query: &InstanceQuery) -> Result<(Vec<InstanceRecord>, u64), StoreError> {
        self.shared.run(Read, "sagas.instances", NO_IDS, self.inner.sagas().instances(service, query)).await
    }

    async fn history(&self, service: &str, instance: &InstanceKey) -> Result<Vec<HistoryEntry>, StoreError> {
        self.shared.run(Read, "sagas.history", [&instance.id], self.inner.sagas().history(service, instance)).await
    }

    async fn due(&self, service: &str, now: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError> {
        self.shared.run(Read, "sagas.due", NO_IDS, self.inner.sagas().due(service, now, limit)).await
    }

    async fn next_due(&self, service: &str) -> Result<Option<Timestamp>, StoreError> {
        self.shared.run(Read, "sagas.next_due", NO_IDS, self.inner.sagas().next_due(service)).await
    }

    async fn updated_after(&self, service: &str, after: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError> {
        self.shared.run(Read, "sagas.updated_after", NO_IDS, self.inner.sagas().updated_after(service, after, limit)).await
    }

    async fn open_versions(&self, service: &str) -> Result<Vec<OpenVersion>, StoreError> {
        self.shared.run(Read, "sagas.open_versions", NO_IDS, self.inner.sagas().open_versions(service)).await
    }

    async fn attention(&self, service: &str) -> Result<Vec<(String, u64)>, StoreError> {
        self.shared.run(Read, "sagas.attention", NO_IDS, self.inner.sagas().attention(service)).await
    }

    async fn definitions(&self, service: &str) -> Result<Vec<StoredDefinition>, StoreError> {
        self.shared.run(Read, "sagas.definitions", NO_IDS, self.inner.sagas().definitions(service)).await
    }

    async fn define(&self, service: &str, definition: &StoredDefinition) -> Result<(), StoreError> {
        self.shared.run(Write, "sagas.define", [&definition.saga], self.inner.sagas().define(service, definition)).await
    }

    async fn prune(&self, service: &str, steps: Timestamp, instances: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.shared.run(Write, "sagas.prune", NO_IDS, self.inner.sagas().prune(service, steps, instances, limit)).await
    }
}

#[async_trait]
impl ReplayStore for FaultyStore {
    async fn ask(&self, service: &str, replay: &Replay) -> Result<bool, StoreError> {
        self.shared.run(Write, "replays.ask", NO_IDS, self.inner.replays().ask(service, replay)).await
    }

    async fn list(&self, service: &str, open: bool, limit: u32) -> Result<Vec<Replay>, StoreError> {
        self.shared.run(Read, "replays.list", NO_IDS, self.inner.replays().list(service, open, limit)).await
    }

    async fn stop(&self, service: &str, id: &ReplayId, at: Timestamp) -> Result<bool, StoreError> {
        self.shared.run(Write, "replays.stop", NO_IDS, self.inner.replays().stop(service, id, at)).await
    }

    async fn step(&self, service: &str, step: &ReplayStep) -> Result<bool, StoreError> {
        self.shared.run(Write, "replays.step", NO_IDS, self.inner.replays().step(service, step)).await
    }

    async fn partitions(&self, service: &str) -> Result<Vec<Ownership>, StoreError> {
        self.shared.run(Read, "replays.partitions", NO_IDS, self.inner.replays().partitions(service)).await
    }

    async fn prune(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.shared.run(Write, "replays.prune", NO_IDS, self.inner.replays().prune(service, before, limit)).await
    }
}

#[async_trait]
impl HandledStore for FaultyStore {
    async fn events(&self, service: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.shared.run(Read, "handled.events", NO_IDS, self.inner.handled().events(service)).await
    }

    async fn note(&self, service: &str, events: &[(String, String)], forget: &[(String, String)]) -> Result<(), StoreError> {
        self.shared.run(Write, "handled.note", NO_IDS, self.inner.handled().note(service, events, forget)).await
    }

    async fn assign(&self, service: &str, taken: &[Taken]) -> Result<Assignment, StoreError> {
        self.shared.run(Write, "handled.assign", NO_IDS, self.inner.handled().assign(service, taken)).await
    }
}
