//! Assignment and revocation of partitions.
//!
//! An assigned partition is first acquired in the database: that fences its previous owner and returns the offset to continue from. It
//! happens in a task, so that a database that does not respond does not block the consumer.
//!
//! When a transaction is refused because another process has acquired the partition, this process stops reading it. If the log still
//! assigns the partition to this process, it was acquired by a member whose assignment is outdated, and it is acquired again.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use super::{
    Consumer, Stage, asked,
    partition::Owned,
    replay::{self, Replaying},
};
use crate::{
    engine::{backpressure::PauseReason, parking::Parked},
    message::TopicPartition,
    runtime::{core::Core, item::Item, logs, parked, partitions},
    store::{Ownership, StoreError},
    time::{doubling, spread},
};

/// The first and the longest wait before a fenced partition that is still assigned to this process is acquired again.
const FENCED_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32));
/// How long a revoked partition whose messages are done waits until its offsets are in the log and in the database. Without them, the next
/// owner receives these messages again and recognizes them as duplicates by the inbox.
const DRAIN: Duration = Duration::from_secs(10);

/// The ownership of each acquired partition, the parked keys of the service, and the replays in progress.
type Taken = (Vec<Ownership>, Vec<Parked>, Vec<Replaying>);

/// The result of the task that acquires partitions.
pub(super) struct TakenOver {
    partitions: Vec<TopicPartition>,
    /// The number of settlements of this process before it read the parked keys.
    settlements: u64,
    result: Result<Taken, StoreError>,
}

impl Consumer {
    pub(super) fn assigned(&mut self, partitions: Vec<TopicPartition>) {
        tracing::debug!(service = &*self.core.name, ?partitions, "assigned");
        for partition in partitions {
            let owned = Owned::new(&self.core, &partition);
            self.partitions.insert(partition, owned);
        }
        self.pause_when_full();
        self.core.record_activity();
    }

    /// Starts a task that acquires the pending partitions, unless one is running.
    pub(super) fn take_over(&mut self) {
        if !self.takeovers.is_empty() {
            return;
        }
        let now = self.core.clock.now();
        let mut partitions = Vec::new();
        for (partition, owned) in &mut self.partitions {
            if owned.revoked.is_none() && matches!(owned.stage, Stage::PendingAcquire(at) if at <= now) {
                owned.stage = Stage::Acquiring;
                partitions.push(partition.clone());
            }
        }
        if !partitions.is_empty() {
            let core = self.core.clone();
            self.takeovers.spawn(async move {
                let settlements = core.settlements.load(Ordering::SeqCst);
                TakenOver { result: asked(&core, "take-over", take_over(&core, &partitions)).await, partitions, settlements }
            });
        }
    }

    pub(super) fn taken_over(&mut self, TakenOver { partitions, settlements, result }: TakenOver) {
        let now = self.core.clock.now();
        match result {
            Ok((owned, keys, replays)) => {
                self.begin(owned, &keys, replays);
                // A key that was settled after the database returned it, and before the index adopted it, is still in the index. The audit
                // removes it.
                if self.core.settlements.load(Ordering::SeqCst) != settlements {
                    self.core.audit_wake.notify_one();
                }
            }
            Err(error) => {
                tracing::warn!(service = &*self.core.name, %error, "partitions could not be taken over; waiting");
                self.core.store_failed(&error);
                for partition in partitions {
                    if let Some(owned) = self.partitions.get_mut(&partition).filter(|owned| owned.stage == Stage::Acquiring) {
                        owned.schedule_acquire(now.after(self.core.outage_backoff(owned.setbacks)));
                    }
                }
            }
        }
        self.core.record_activity();
    }

    /// Starts reading the acquired partitions. The parked keys are adopted first, so that no record overtakes the parked messages of its
    /// key.
    fn begin(&mut self, taken: Vec<Ownership>, keys: &[Parked], mut replays: Vec<Replaying>) {
        let (mut starts, mut lost) = (Vec::with_capacity(taken.len()), Vec::new());
        for taken in taken {
            let Some(owned) = self.partitions.get_mut(&taken.partition).filter(|owned| owned.stage == Stage::Acquiring) else {
                continue;
            };
            if owned.revoked.is_some() {
                owned.stage = Stage::PendingAcquire(self.core.clock.now());
                continue;
            }
            owned.begin(&taken);
            owned.replay =
                replays.iter().position(|replay| replay.is_of(&taken.partition)).map(|at| Box::new(replays.swap_remove(at)));
            let gone = owned.check_recreated(self.core.logs.of(&taken.partition.topic).as_ref());
            let of_topic = keys.iter().filter(|key| key.place.topic == taken.partition.topic);
            self.core.parked().adopt(taken.partition.clone(), taken.epoch, of_topic.cloned());
            self.backpressure.resume(&taken.partition, PauseReason::Gap);
            match gone {
                true => lost.push(taken.partition),
                false => starts.push((taken.partition, taken.applied)),
            }
        }
        self.subscription.start(&starts);
        for (partition, _) in &starts {
            self.refuse_replay_of_before(partition);
        }
        lost.iter().for_each(|partition| self.recreated(partition));
        self.core.parked_wake.notify_one();
    }

    /// When the next partition is to be acquired.
    pub(super) fn wanted_at(&self) -> Option<crate::time::Timestamp> {
        if !self.takeovers.is_empty() {
            return None;
        }
        let wanted = self.partitions.values().filter(|owned| owned.revoked.is_none());
        wanted.filter_map(|owned| if let Stage::PendingAcquire(at) = owned.stage { Some(at) } else { None }).min()
    }

    /// Stops reading `partition`, which this process had acquired under `epoch`, because another process has acquired it.
    pub(super) fn fenced(&mut self, partition: &TopicPartition, epoch: i64) {
        let Some(owned) = self.partitions.get_mut(partition).filter(|owned| owned.epoch == epoch) else { return };
        if !matches!(owned.stage, Stage::Reading | Stage::Gap(_) | Stage::Skipping) {
            return;
        }
        let wait = doubling(FENCED_WAIT.0, FENCED_WAIT.1, owned.setbacks);
        tracing::warn!(service = &*self.core.name, %partition, epoch, "another process has taken the partition over");
        owned.schedule_acquire(self.core.clock.now().after(spread(wait, self.core.ids.fraction())));
        self.abandon(std::slice::from_ref(partition));
    }

    pub(super) fn revoked(&mut self, partitions: &[TopicPartition]) {
        tracing::debug!(service = &*self.core.name, ?partitions, "revoked");
        let now = self.core.clock.now();
        for partition in partitions {
            if let Some(owned) = self.partitions.get_mut(partition) {
                owned.revoked = Some(now);
            }
        }
        self.drop_waiting(partitions);
    }

    pub(super) fn lost(&mut self, partitions: &[TopicPartition]) {
        tracing::warn!(service = &*self.core.name, ?partitions, "partitions were lost to another member");
        self.forget(partitions);
    }

    pub(super) fn drop_waiting(&mut self, partitions: &[TopicPartition]) {
        let mut dropped = self.schedule.drop_waiting(|item| !partitions.contains(&item.partition()));
        dropped.extend(self.drop_stuck(partitions));
        self.end_runs(&dropped);
        self.left_memory(&dropped);
    }

    /// Ends the runs of parked messages that are not attempted. Other messages of the same run can belong to partitions that this process
    /// keeps.
    pub(super) fn end_runs(&self, items: &[Item]) {
        let (now, mut parked) = (self.core.clock.now(), self.core.parked());
        for item in items.iter().filter(|item| item.parked.is_some()) {
            parked.settled(&item.place, 0, Some(now), now);
        }
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|partition| {
            self.partitions.remove(partition);
        });
        self.commits_are_well();
        self.backpressure.forget(partitions);
        self.abandon(partitions);
    }

    /// Drops the unstarted work of `partitions`; their new owners do it.
    fn abandon(&mut self, partitions: &[TopicPartition]) {
        self.drop_waiting(partitions);
        self.core.parked().forget(partitions);
        self.close_gaps(partitions);
        self.core.record_activity();
    }

    /// Releases the revoked partitions whose messages are done, once their offsets are in the log and in the database.
    pub(super) fn release(&mut self) {
        let now = self.core.clock.now();
        let done = |partition: &TopicPartition, owned: &Owned| {
            let settled = owned.is_settled() && !self.committing.contains(&partition.topic);
            owned.revoked.is_some_and(|since| owned.is_idle() && (settled || now >= since.after(DRAIN)))
        };
        let released: Vec<_> = self
            .partitions
            .iter()
            .filter(|(partition, owned)| done(partition, owned))
            .map(|(partition, _)| partition.clone())
            .collect();
        if !released.is_empty() {
            self.forget(&released);
            self.subscription.release(&released);
        }
    }
}

/// Acquires `partitions` in the database and then reads the parked keys.
async fn take_over(core: &Core, partitions: &[TopicPartition]) -> Result<Taken, StoreError> {
    let topics: Vec<_> =
        partitions.iter().map(|partition| partition.topic.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    // If the identities of the logs cannot be determined now, the partitions are compared once they are known. If a topic was recreated,
    // the records read by then are read again from its beginning.
    let (owned, counted, ()) = tokio::join!(
        core.store().acquire_partitions(&core.name, partitions),
        partitions::count(core, partitions),
        logs::ask(core, &topics)
    );
    partitions::learn(core, counted).await?;
    let (owned, keys) = (owned?, parked::keys(core).await?);
    let replays = replay::running(core, partitions, &keys).await?;
    Ok((owned, keys, replays))
}
