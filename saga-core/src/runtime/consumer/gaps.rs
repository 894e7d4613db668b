//! Records are missing where a partition should be read on.

use super::{Consumer, Stage, asked};
use crate::{
    message::TopicPartition,
    runtime::gap::Gap,
    settings::OnGap,
    store::{Ownership, StoreError},
    time::Timestamp,
};

/// What a task reports that set a partition to its oldest record.
pub(super) struct Skipped {
    to: Ownership,
    result: Result<Vec<bool>, StoreError>,
}

impl Consumer {
    pub(super) fn gap(&mut self, gap: Gap) {
        if self.ends_replay(&gap) {
            return;
        }
        let now = self.core.clock.now();
        let Some(owned) = self.partitions.get_mut(&gap.partition).filter(|owned| owned.stage == Stage::Reading) else { return };
        let service = &*self.core.name;
        match self.core.settings.on_gap {
            OnGap::Stop => {
                tracing::error!(service, "{gap}");
                owned.stage = Stage::Gap(None);
            }
            OnGap::Oldest => {
                tracing::error!(service, "{gap}; going on from the oldest");
                owned.stage = Stage::Gap(Some(now));
            }
        }
        let mut gaps = self.core.gaps();
        gaps.insert(gap.partition.clone(), gap);
        self.core.series.gaps.set_count(gaps.len() as u64);
    }

    /// Sets partitions to their oldest record, where that is wanted and what was read before is done.
    pub(super) fn skip(&mut self) {
        let now = self.core.clock.now();
        for (partition, owned) in &mut self.partitions {
            let due = matches!(owned.stage, Stage::Gap(Some(at)) if at <= now);
            if !due || owned.revoked.is_some() || owned.watermark.window() > 0 {
                continue;
            }
            let Some(oldest) = self.core.gaps().get(partition).map(|gap| gap.oldest) else { continue };
            owned.stage = Stage::Skipping;
            let to = Ownership { partition: partition.clone(), epoch: owned.epoch, applied: Some(oldest) };
            let core = self.core.clone();
            self.skips.spawn(async move {
                let result = asked(&core, "rewind", core.store().rewind(&core.name, std::slice::from_ref(&to))).await;
                Skipped { to, result }
            });
        }
    }

    pub(super) fn skipped(&mut self, Skipped { to, result }: Skipped) {
        let now = self.core.clock.now();
        let skipping = |owned: &&mut super::partition::Owned| owned.stage == Stage::Skipping && owned.epoch == to.epoch;
        let Some(owned) = self.partitions.get_mut(&to.partition).filter(skipping) else { return };
        match result {
            Ok(stood) if stood == [true] => {
                (owned.stage, owned.setbacks) = (Stage::Reading, 0);
                owned.read_from(to.applied);
                self.core.series.gap_records.add(self.core.gaps().get(&to.partition).map_or(0, Gap::skipped));
                self.close_gaps(std::slice::from_ref(&to.partition));
                self.subscription.start(&[(to.partition, to.applied)]);
            }
            Ok(_) => self.fenced(&to.partition, to.epoch),
            Err(error) => {
                tracing::warn!(service = &*self.core.name, %error, "a partition could not be set to its oldest record; waiting");
                owned.stage = Stage::Gap(Some(now.after(self.core.outage_backoff(owned.setbacks))));
                owned.setbacks = owned.setbacks.saturating_add(1);
            }
        }
        self.core.moved();
    }

    /// When a partition is to be set to its oldest record, if only the time is missing.
    pub(super) fn skip_at(&self) -> Option<Timestamp> {
        let idle = self.partitions.values().filter(|owned| owned.revoked.is_none() && owned.watermark.window() == 0);
        idle.filter_map(|owned| if let Stage::Gap(at) = owned.stage { at } else { None }).min()
    }

    /// Nothing is missing of `partitions` any more, or it is another's concern.
    pub(super) fn close_gaps(&self, partitions: &[TopicPartition]) {
        let mut gaps = self.core.gaps();
        gaps.retain(|partition, _| !partitions.contains(partition));
        self.core.series.gaps.set_count(gaps.len() as u64);
    }
}
