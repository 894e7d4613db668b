//! Stores replays.

use async_trait::async_trait;

use super::{
    super::{Ownership, Replay, ReplayId, ReplayStep, ReplayStore, StoreError, StoreTx},
    SqliteStore,
    statements::replays,
};
use crate::time::Timestamp;

#[async_trait]
impl ReplayStore for SqliteStore {
    async fn ask(&self, service: &str, replay: &Replay) -> Result<bool, StoreError> {
        self.write(async |connection| replays::ask(connection, service, replay).await).await
    }

    async fn list(&self, service: &str, open: bool, limit: u32) -> Result<Vec<Replay>, StoreError> {
        self.read(async |connection| replays::list(connection, service, open, limit).await).await
    }

    async fn stop(&self, service: &str, id: &ReplayId, at: Timestamp) -> Result<bool, StoreError> {
        self.write(async |connection| replays::stop(connection, service, id, at).await).await
    }

    async fn step(&self, service: &str, step: &ReplayStep) -> Result<bool, StoreError> {
        let mut unit = self.unit().await?;
        let done = unit.run(async |connection| replays::step(connection, service, step).await).await?;
        if done {
            Box::new(unit).commit().await?;
        }
        Ok(done)
    }

    async fn partitions(&self, service: &str) -> Result<Vec<Ownership>, StoreError> {
        self.read(async |connection| replays::partitions(connection, service).await).await
    }

    async fn prune(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(async |connection| replays::prune(connection, service, before, limit).await).await
    }
}
