//! Records are missing where a partition should be read on.

use super::{Consumer, Stage, asked};
use crate::{
    engine::flow::Reason,
    message::TopicPartition,
    runtime::gap::{Cause, Gap},
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
    /// The subscription has none of the records that are next.
    pub(super) fn gap(&mut self, gap: Gap) {
        let reading = self.partitions.get(&gap.partition).is_some_and(|owned| owned.stage == Stage::Reading);
        if reading && !self.ends_replay(&gap) {
            self.open_gap(gap);
        }
    }

    /// Compares the logs that are read with those that the topics are now, when that has changed.
    pub(super) fn compare_logs(&mut self) {
        let changes = self.core.logs.changes();
        if self.compared == changes {
            return;
        }
        let (mut all, mut gone) = (true, Vec::new());
        for (partition, owned) in &mut self.partitions {
            match owned.stage {
                Stage::Reading | Stage::Gap(_) if owned.gone => {}
                Stage::Reading | Stage::Gap(_) => {
                    if owned.compare(self.core.logs.of(&partition.topic).as_ref()) && owned.revoked.is_none() {
                        gone.push(partition.clone());
                    }
                }
                Stage::Skipping => all = false,
                // It is compared when it was taken over.
                Stage::Wanted(_) | Stage::Taking => {}
            }
        }
        if all {
            self.compared = changes;
        }
        gone.iter().for_each(|partition| self.recreated(partition));
        self.core.moved();
    }

    /// The topic of `partition` was made anew.
    pub(super) fn recreated(&mut self, partition: &TopicPartition) {
        let (Some(owned), Some(log)) = (self.partitions.get(partition), self.core.logs.of(&partition.topic)) else { return };
        let wanted = owned.watermark.next().or(owned.applied).unwrap_or(0);
        self.refuse_replay_of_before(partition);
        // What comes of the new one at the offsets of the old is not wanted.
        self.flow.hold(partition, Reason::Gap);
        self.open_gap(Gap::recreated(partition.clone(), wanted, log));
    }

    fn open_gap(&mut self, gap: Gap) {
        let now = self.core.clock.now();
        let Some(owned) = self.partitions.get_mut(&gap.partition) else { return };
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
        // What the database and the log were told of before is written before, and its answer is not taken for one of afterwards.
        if !self.advances.is_empty() || self.committing.is_some() {
            return;
        }
        for (partition, owned) in &mut self.partitions {
            let due = matches!(owned.stage, Stage::Gap(Some(at)) if at <= now);
            if !due || owned.revoked.is_some() || owned.watermark.window() > 0 {
                continue;
            }
            let Some(gap) = self.core.gaps().get(partition).cloned() else { continue };
            owned.stage = Stage::Skipping;
            let log = match gap.cause {
                Cause::Recreated(log) => self.core.logs.of(&partition.topic).or(Some(log)),
                Cause::Removed | Cause::Cut => owned.log.clone(),
            };
            let log = log.map(|log| log.to_string());
            let to = Ownership { partition: partition.clone(), epoch: owned.epoch, applied: Some(gap.oldest), log };
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
                if owned.log.as_deref() != to.log.as_deref() {
                    self.subscription.made_anew(std::slice::from_ref(&to.partition));
                }
                owned.set_to(&to);
                self.flow.free(&to.partition, Reason::Gap);
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
        if !self.advances.is_empty() || self.committing.is_some() {
            return None;
        }
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
