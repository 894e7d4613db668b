//! Gaps: partitions whose next records no longer exist in the log.

use super::{Consumer, Stage, asked};
use crate::{
    engine::backpressure::PauseReason,
    message::TopicPartition,
    runtime::gap::{Cause, Gap},
    settings::OnGap,
    store::{Ownership, StoreError},
    time::Timestamp,
};

/// The result of the task that sets a partition to its oldest record.
pub(super) struct Skipped {
    to: Ownership,
    result: Result<Vec<bool>, StoreError>,
}

impl Consumer {
    /// Handles `gap`: the log no longer has the next records of a partition.
    pub(super) fn gap(&mut self, gap: Gap) {
        let reading = self.partitions.get(&gap.partition).is_some_and(|owned| owned.stage == Stage::Reading);
        if reading && !self.ends_replay(&gap) {
            self.open_gap(gap);
        }
    }

    /// Compares the logs that the partitions were read from with the current ones, if any topic was found to have changed since the last
    /// comparison.
    pub(super) fn compare_logs(&mut self) {
        let changes = self.core.logs.changes();
        if self.compared == changes {
            return;
        }
        let (mut all, mut gone) = (true, Vec::new());
        for (partition, owned) in &mut self.partitions {
            match owned.stage {
                Stage::Reading | Stage::Gap(_) if owned.recreated => {}
                Stage::Reading | Stage::Gap(_) => {
                    if owned.check_recreated(self.core.logs.of(&partition.topic).as_ref()) && owned.revoked.is_none() {
                        gone.push(partition.clone());
                    }
                }
                Stage::Skipping => all = false,
                // Compared when it has been acquired.
                Stage::PendingAcquire(_) | Stage::Acquiring => {}
            }
        }
        if all {
            self.compared = changes;
        }
        gone.iter().for_each(|partition| self.recreated(partition));
        self.core.record_activity();
    }

    /// Stops `partition`, because its topic was recreated.
    pub(super) fn recreated(&mut self, partition: &TopicPartition) {
        let (Some(owned), Some(log)) = (self.partitions.get(partition), self.core.logs.of(&partition.topic)) else { return };
        let wanted = owned.watermark.next().or(owned.applied).unwrap_or(0);
        self.refuse_replay_of_before(partition);
        // Records of the new topic must not be handled at offsets of the old one.
        self.backpressure.pause(partition, PauseReason::Gap);
        self.open_gap(Gap::recreated(partition.clone(), wanted, log));
    }

    fn open_gap(&mut self, gap: Gap) {
        let now = self.core.clock.now();
        let Some(owned) = self.partitions.get_mut(&gap.partition) else { return };
        let service = &*self.core.name;
        let told = gap.in_log(&*self.core.transport);
        match self.core.settings.on_gap {
            OnGap::Stop => {
                tracing::error!(service, "{told}");
                owned.stage = Stage::Gap(None);
            }
            OnGap::Oldest => {
                tracing::error!(service, "{told}; going on from the oldest");
                owned.stage = Stage::Gap(Some(now));
            }
        }
        let mut gaps = self.core.gaps();
        gaps.insert(gap.partition.clone(), gap);
        self.core.series.gaps.set_count(gaps.len() as u64);
    }

    /// Sets partitions with a gap to their oldest record, if the setting `on_gap` allows it and their earlier messages are done.
    pub(super) fn skip(&mut self) {
        let now = self.core.clock.now();
        // A running write of applied offsets must end first. Otherwise its result would be applied to the partition's new position.
        if !self.advances.is_empty() {
            return;
        }
        for (partition, owned) in &mut self.partitions {
            let due = matches!(owned.stage, Stage::Gap(Some(at)) if at <= now);
            if !due || self.committing.contains(&partition.topic) || owned.revoked.is_some() || owned.watermark.window() > 0 {
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
                self.backpressure.resume(&to.partition, PauseReason::Gap);
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
        self.core.record_activity();
    }

    /// When a partition is to be set to its oldest record, if it waits only for the time.
    pub(super) fn skip_at(&self) -> Option<Timestamp> {
        if !self.advances.is_empty() {
            return None;
        }
        let told = self.partitions.iter().filter(|(partition, _)| !self.committing.contains(&partition.topic));
        let idle = told.map(|(_, owned)| owned).filter(|owned| owned.revoked.is_none() && owned.watermark.window() == 0);
        idle.filter_map(|owned| if let Stage::Gap(at) = owned.stage { at } else { None }).min()
    }

    /// Removes the gaps of `partitions`, which are over or now belong to another process.
    pub(super) fn close_gaps(&self, partitions: &[TopicPartition]) {
        let mut gaps = self.core.gaps();
        gaps.retain(|partition, _| !partitions.contains(partition));
        self.core.series.gaps.set_count(gaps.len() as u64);
    }
}
