//! Stores replays.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{
    super::{Ownership, Replay, ReplayId, ReplayState, ReplayStep, ReplayStore, StoreError},
    MemoryStore,
};
use crate::time::Timestamp;

#[async_trait]
impl ReplayStore for MemoryStore {
    async fn ask(&self, service: &str, replay: &Replay) -> Result<bool, StoreError> {
        let _writer = self.writer().await?;
        let mut tables = self.tables();
        let replays = tables.replays.entry(service.to_owned()).or_default();
        if replays.iter().any(|one| one.id == replay.id || one.state.is_open() && one.partition == replay.partition) {
            return Ok(false);
        }
        replays.push(replay.clone());
        Ok(true)
    }

    async fn list(&self, service: &str, open: bool, limit: u32) -> Result<Vec<Replay>, StoreError> {
        let tables = self.tables();
        let partitions = tables.partitions.get(service);
        let mut found: Vec<_> =
            tables.replays.get(service).into_iter().flatten().filter(|one| one.state.is_open() || !open).cloned().collect();
        found.sort_by(|one, other| (other.at, &other.id).cmp(&(one.at, &one.id)));
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        for one in &mut found {
            one.applied = partitions.and_then(|known| known.get(&one.partition)?.applied);
        }
        Ok(found)
    }

    async fn stop(&self, service: &str, id: &ReplayId, at: Timestamp) -> Result<bool, StoreError> {
        let _writer = self.writer().await?;
        let mut tables = self.tables();
        let found =
            tables.replays.get_mut(service).and_then(|all| all.iter_mut().find(|one| one.id == *id && one.state.is_open()));
        let Some(replay) = found else { return Ok(false) };
        match replay.state {
            ReplayState::Waiting => (replay.state, replay.ended_at) = (ReplayState::Cancelled, Some(at)),
            _ => replay.state = ReplayState::Stopping,
        }
        Ok(true)
    }

    async fn step(&self, service: &str, step: &ReplayStep) -> Result<bool, StoreError> {
        let _writer = self.writer().await?;
        let mut tables = self.tables();
        let open = |one: &Replay| one.id == step.id && one.state.is_open();
        if !tables.replays.get(service).is_some_and(|all| all.iter().any(open))
            || tables.apply_offsets(service, std::slice::from_ref(&step.owned), |_, offset| offset) != [true]
        {
            return Ok(false);
        }
        if let Some(replay) = tables.replays.get_mut(service).and_then(|all| all.iter_mut().find(|one| open(one))) {
            replay.state = step.state;
            replay.from = step.from.or(replay.from);
            replay.to = step.to.or(replay.to);
            replay.resume = step.resume.or(replay.resume);
            replay.detail.clone_from(&step.detail);
            replay.ended_at = (!step.state.is_open()).then_some(step.at);
        }
        Ok(true)
    }

    async fn partitions(&self, service: &str) -> Result<Vec<Ownership>, StoreError> {
        let tables = self.tables();
        let mut all: Vec<_> = tables.partitions.get(service).into_iter().flat_map(HashMap::values).cloned().collect();
        all.sort_by(|one, other| one.partition.cmp(&other.partition));
        Ok(all)
    }

    async fn prune(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut tables = self.tables();
        let (mut pruned, limit) = (0, u64::from(limit));
        if let Some(all) = tables.replays.get_mut(service) {
            all.retain(|one| {
                let forget = pruned < limit && one.ended_at.is_some_and(|ended| ended < before);
                pruned += u64::from(forget);
                !forget
            });
        }
        Ok(pruned)
    }
}
