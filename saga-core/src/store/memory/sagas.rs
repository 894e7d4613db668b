//! The data of sagas in the store in memory.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{
    super::{
        HistoryEntry, InstanceKey, InstanceOrder, InstanceQuery, InstanceRecord, OpenVersion, SagaStore, StepRecord, StoreError,
        StoredDefinition,
    },
    MemoryStore,
};
use crate::time::Timestamp;

/// The data of one service's sagas.
#[derive(Debug, Default)]
pub(super) struct SagaTables {
    pub(super) steps: BTreeMap<InstanceKey, BTreeMap<String, StepRecord>>,
    pub(super) instances: BTreeMap<InstanceKey, InstanceRecord>,
    pub(super) history: BTreeMap<InstanceKey, Vec<HistoryEntry>>,
    definitions: BTreeMap<(String, u32), String>,
}

impl SagaTables {
    pub(super) fn steps_of(&self, instance: &InstanceKey) -> impl Iterator<Item = StepRecord> {
        self.steps.get(instance).into_iter().flat_map(BTreeMap::values).cloned()
    }

    fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.instances.is_empty() && self.definitions.is_empty()
    }

    fn page(&self, query: &InstanceQuery) -> (Vec<InstanceRecord>, u64) {
        let wanted = |record: &&InstanceRecord| {
            query.saga.as_ref().is_none_or(|saga| *saga == record.instance.saga)
                && query.state.is_none_or(|state| state == record.state)
                && (!query.open || record.ended_at.is_none())
                && (!query.attention || record.attention.is_some())
                && query.idle_since.is_none_or(|since| record.updated_at < since)
        };
        let mut found: Vec<_> = self.instances.values().filter(wanted).cloned().collect();
        found.sort_by(|one, other| {
            let by_key = (&one.instance.saga, &one.instance.id).cmp(&(&other.instance.saga, &other.instance.id));
            match query.order {
                InstanceOrder::Newest => other.started_at.cmp(&one.started_at).then(by_key),
                InstanceOrder::Stalest => one.updated_at.cmp(&other.updated_at).then(by_key),
            }
        });
        let total = found.len() as u64;
        let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
        let page = found.into_iter().skip(offset).take(usize::try_from(query.limit).unwrap_or(usize::MAX));
        (page.collect(), total)
    }

    fn prune(&mut self, steps: Timestamp, instances: Timestamp, limit: u32) -> u64 {
        let (mut pruned_steps, mut pruned_instances) = (0, 0);
        for records in self.steps.values_mut() {
            records.retain(|_, record| {
                let forget = record.at < steps && pruned_steps < limit;
                pruned_steps += u32::from(forget);
                !forget
            });
        }
        self.steps.retain(|_, records| !records.is_empty());
        let history = &mut self.history;
        self.instances.retain(|key, record| {
            let forget = record.ended_at.is_some_and(|at| at < instances) && pruned_instances < limit;
            if forget {
                pruned_instances += 1;
                history.remove(key);
            }
            !forget
        });
        u64::from(pruned_steps.max(pruned_instances))
    }
}

#[async_trait]
impl SagaStore for MemoryStore {
    async fn services(&self) -> Result<Vec<String>, StoreError> {
        let tables = self.tables();
        let kept = tables.sagas.iter().filter(|(_, sagas)| !sagas.is_empty()).map(|(service, _)| service);
        let letters = tables.letters.iter().map(|(service, _)| service);
        let services: BTreeSet<_> = kept.chain(letters).chain(tables.partitions.keys()).cloned().collect();
        Ok(services.into_iter().collect())
    }

    async fn steps(&self, service: &str, instance: &InstanceKey) -> Result<Vec<StepRecord>, StoreError> {
        Ok(self.tables().sagas.get(service).map(|sagas| sagas.steps_of(instance).collect()).unwrap_or_default())
    }

    async fn instance(&self, service: &str, instance: &InstanceKey) -> Result<Option<InstanceRecord>, StoreError> {
        Ok(self.tables().sagas.get(service).and_then(|sagas| sagas.instances.get(instance).cloned()))
    }

    async fn instances(&self, service: &str, query: &InstanceQuery) -> Result<(Vec<InstanceRecord>, u64), StoreError> {
        Ok(self.tables().sagas.get(service).map(|sagas| sagas.page(query)).unwrap_or_default())
    }

    async fn history(&self, service: &str, instance: &InstanceKey) -> Result<Vec<HistoryEntry>, StoreError> {
        let tables = self.tables();
        Ok(tables.sagas.get(service).and_then(|sagas| sagas.history.get(instance)).cloned().unwrap_or_default())
    }

    async fn due(&self, service: &str, now: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError> {
        let tables = self.tables();
        let Some(sagas) = tables.sagas.get(service) else { return Ok(Vec::new()) };
        let mut due: Vec<_> = sagas
            .instances
            .values()
            .filter_map(|record| Some((record.due.filter(|due| *due <= now)?, &record.instance)))
            .collect();
        due.sort();
        Ok(due.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).map(|(_, key)| key.clone()).collect())
    }

    async fn next_due(&self, service: &str) -> Result<Option<Timestamp>, StoreError> {
        let tables = self.tables();
        Ok(tables.sagas.get(service).and_then(|sagas| sagas.instances.values().filter_map(|record| record.due).min()))
    }

    async fn updated_after(&self, service: &str, after: Timestamp, limit: u32) -> Result<Vec<InstanceKey>, StoreError> {
        let tables = self.tables();
        let records = tables.sagas.get(service).into_iter().flat_map(|sagas| sagas.instances.values());
        let found = records.filter(|record| record.ended_at.is_none() && record.updated_at > after);
        Ok(found.take(usize::try_from(limit).unwrap_or(usize::MAX)).map(|record| record.instance.clone()).collect())
    }

    async fn open_versions(&self, service: &str) -> Result<Vec<OpenVersion>, StoreError> {
        let tables = self.tables();
        let mut open: BTreeMap<(String, u32), u64> = BTreeMap::new();
        let records = tables.sagas.get(service).into_iter().flat_map(|sagas| sagas.instances.values());
        for record in records.filter(|record| record.ended_at.is_none()) {
            *open.entry((record.instance.saga.clone(), record.version)).or_default() += 1;
        }
        Ok(open.into_iter().map(|((saga, version), instances)| OpenVersion { saga, version, instances }).collect())
    }

    async fn attention(&self, service: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let tables = self.tables();
        let mut open: BTreeMap<String, u64> = BTreeMap::new();
        let records = tables.sagas.get(service).into_iter().flat_map(|sagas| sagas.instances.values());
        for record in records.filter(|record| record.attention.is_some()) {
            *open.entry(record.instance.saga.clone()).or_default() += 1;
        }
        Ok(open.into_iter().collect())
    }

    async fn definitions(&self, service: &str) -> Result<Vec<StoredDefinition>, StoreError> {
        let tables = self.tables();
        let kept = tables.sagas.get(service).into_iter().flat_map(|sagas| &sagas.definitions);
        Ok(kept
            .map(|((saga, version), body)| StoredDefinition { saga: saga.clone(), version: *version, body: body.clone() })
            .collect())
    }

    async fn define(&self, service: &str, definition: &StoredDefinition) -> Result<(), StoreError> {
        let StoredDefinition { saga, version, body } = definition.clone();
        self.tables().sagas.entry(service.to_owned()).or_default().definitions.insert((saga, version), body);
        Ok(())
    }

    async fn prune(&self, service: &str, steps: Timestamp, instances: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let _writer = self.writer().await?;
        Ok(self.tables().sagas.get_mut(service).map(|sagas| sagas.prune(steps, instances, limit)).unwrap_or_default())
    }
}
