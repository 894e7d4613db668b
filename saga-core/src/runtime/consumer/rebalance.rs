//! Partitions come and go.

use super::{Consumer, Owned};
use crate::{
    engine::watermark::Watermark,
    message::TopicPartition,
    runtime::{core::Core, metrics::PartitionSeries, parked},
    store::{Ownership, StoreError},
};

impl Consumer {
    pub(super) async fn assigned(&mut self, partitions: Vec<TopicPartition>) {
        tracing::debug!(service = &*self.core.name, ?partitions, "assigned");
        let mut failures = 0;
        let owned = loop {
            match take_over(&self.core, &partitions).await {
                Ok(owned) => break owned,
                Err(error) => {
                    tracing::warn!(service = &*self.core.name, %error, "partitions could not be taken over; waiting");
                    self.core.clock.sleep(self.core.outage_backoff(failures)).await;
                    failures = failures.saturating_add(1);
                }
            }
        };
        self.subscription.start(&owned.into_iter().map(|owned| (owned.partition, owned.applied)).collect::<Vec<_>>());
        for partition in partitions {
            let series = PartitionSeries::new(&self.core.metrics, &partition.topic, partition.partition);
            let owned = Owned { watermark: Watermark::default(), running: 0, revoked: false, series };
            self.partitions.insert(partition, owned);
        }
        self.pause_when_full();
        self.core.moved();
    }

    pub(super) fn revoked(&mut self, partitions: &[TopicPartition]) {
        tracing::debug!(service = &*self.core.name, ?partitions, "revoked");
        for partition in partitions {
            if let Some(owned) = self.partitions.get_mut(partition) {
                owned.revoked = true;
            }
        }
        self.drop_waiting(partitions);
    }

    pub(super) fn lost(&mut self, partitions: &[TopicPartition]) {
        tracing::warn!(service = &*self.core.name, ?partitions, "partitions were lost to another member");
        self.drop_waiting(partitions);
        self.forget(partitions);
    }

    pub(super) fn drop_waiting(&mut self, partitions: &[TopicPartition]) {
        let dropped = self.schedule.drop_waiting(|item| !partitions.contains(&item.partition()));
        self.left_memory(&dropped);
    }

    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|partition| {
            self.partitions.remove(partition);
        });
        self.flow.forget(partitions);
        let owned = &self.partitions;
        self.core.lot().retain(|topic, partition| owned.contains_key(&TopicPartition::new(topic, partition)));
    }

    /// Gives up the revoked partitions whose messages are done and committed.
    pub(super) fn release(&mut self) {
        let done = |owned: &Owned| owned.revoked && owned.running == 0 && owned.watermark.committable().is_none();
        if self.committing.is_some() || !self.partitions.values().any(done) {
            return;
        }
        let released: Vec<_> =
            self.partitions.iter().filter(|(_, owned)| done(owned)).map(|(partition, _)| partition.clone()).collect();
        self.forget(&released);
        self.subscription.release(&released);
    }
}

/// Takes partitions over from whoever read them before. Before any record of them is looked at, the keys that are parked must be
/// known.
async fn take_over(core: &Core, partitions: &[TopicPartition]) -> Result<Vec<Ownership>, StoreError> {
    let owned = core.store().own(&core.name, partitions).await?;
    parked::adopt(core, partitions).await?;
    Ok(owned)
}
