//! Partitions come and go.
//!
//! One that is assigned is taken over in the database first, by a task, so that a database that does not answer holds up nothing
//! else: that fences whoever read it before, and says where to read on. One that shows to be another's, in a transaction that
//! was refused, is read no more; if the log goes on saying that it is ours, it was taken away by a member that came too late,
//! and is taken over again.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Consumer, Stage, asked,
    partition::Owned,
    replay::{self, Replaying},
};
use crate::{
    engine::{flow::Reason, parking::Parked},
    message::TopicPartition,
    runtime::{core::Core, item::Item, logs, parked, partitions},
    store::{Ownership, StoreError},
};

/// How long a partition that was taken away is left alone, if the log says that it is still ours; doubled each time.
const FENCED_WAIT: Duration = Duration::from_secs(1);
/// The longest of these waits is so many times the first.
const FENCED_MOST: u32 = 32;
/// How long a revoked partition whose messages are done waits for the log and the database to know it. Without that the next
/// reader is given messages again, which the inbox knows.
const DRAIN: Duration = Duration::from_secs(10);

/// Where each partition stands that was taken over, the parked keys of the service, and the replays that go on.
type Taken = (Vec<Ownership>, Vec<Parked>, Vec<Replaying>);

/// What a task reports that took partitions over.
pub(super) struct TakenOver {
    partitions: Vec<TopicPartition>,
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
        self.core.moved();
    }

    /// Takes over what is to be taken over, one task at a time.
    pub(super) fn take_over(&mut self) {
        if !self.takeovers.is_empty() {
            return;
        }
        let now = self.core.clock.now();
        let mut partitions = Vec::new();
        for (partition, owned) in &mut self.partitions {
            if owned.revoked.is_none() && matches!(owned.stage, Stage::Wanted(at) if at <= now) {
                owned.stage = Stage::Taking;
                partitions.push(partition.clone());
            }
        }
        if !partitions.is_empty() {
            let core = self.core.clone();
            self.takeovers.spawn(async move {
                TakenOver { result: asked(&core, "take-over", take_over(&core, &partitions)).await, partitions }
            });
        }
    }

    pub(super) fn taken_over(&mut self, TakenOver { partitions, result }: TakenOver) {
        let now = self.core.clock.now();
        match result {
            Ok((owned, keys, replays)) => self.begin(owned, &keys, replays),
            Err(error) => {
                tracing::warn!(service = &*self.core.name, %error, "partitions could not be taken over; waiting");
                self.core.store_failed(&error);
                for partition in partitions {
                    if let Some(owned) = self.partitions.get_mut(&partition).filter(|owned| owned.stage == Stage::Taking) {
                        owned.want(now.after(self.core.outage_backoff(owned.setbacks)));
                    }
                }
            }
        }
        self.core.moved();
    }

    /// Reads partitions that were taken over. Before any record of them is looked at, the keys that are parked are known.
    fn begin(&mut self, taken: Vec<Ownership>, keys: &[Parked], mut replays: Vec<Replaying>) {
        let (mut starts, mut lost) = (Vec::with_capacity(taken.len()), Vec::new());
        for taken in taken {
            let Some(owned) = self.partitions.get_mut(&taken.partition).filter(|owned| owned.stage == Stage::Taking) else {
                continue;
            };
            if owned.revoked.is_some() {
                owned.stage = Stage::Wanted(self.core.clock.now());
                continue;
            }
            owned.begin(&taken);
            owned.replay =
                replays.iter().position(|replay| replay.is_of(&taken.partition)).map(|at| Box::new(replays.swap_remove(at)));
            let gone = owned.compare(self.core.logs.of(&taken.partition.topic).as_ref());
            let of_topic = keys.iter().filter(|key| key.place.topic == taken.partition.topic);
            self.core.lot().adopt(taken.partition.clone(), taken.epoch, of_topic.cloned());
            self.flow.free(&taken.partition, Reason::Gap);
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
        self.core.lot_wake.notify_one();
    }

    /// When the next partition is to be taken over.
    pub(super) fn wanted_at(&self) -> Option<crate::time::Timestamp> {
        if !self.takeovers.is_empty() {
            return None;
        }
        let wanted = self.partitions.values().filter(|owned| owned.revoked.is_none());
        wanted.filter_map(|owned| if let Stage::Wanted(at) = owned.stage { Some(at) } else { None }).min()
    }

    /// Another has taken `partition` over from us, who had it under `epoch`.
    pub(super) fn fenced(&mut self, partition: &TopicPartition, epoch: i64) {
        let Some(owned) = self.partitions.get_mut(partition).filter(|owned| owned.epoch == epoch) else { return };
        if !matches!(owned.stage, Stage::Reading | Stage::Gap(_) | Stage::Skipping) {
            return;
        }
        let wait = FENCED_WAIT.saturating_mul(2_u32.saturating_pow(owned.setbacks).min(FENCED_MOST));
        tracing::warn!(service = &*self.core.name, %partition, epoch, "another has taken the partition over");
        owned.want(self.core.clock.now().after(wait.mul_f64(0.5 + 0.5 * self.core.ids.fraction())));
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

    /// Ends the runs of parked messages that are not tried: what else was taken of their keys may be of partitions that stay.
    pub(super) fn end_runs(&self, items: &[Item]) {
        let (now, mut lot) = (self.core.clock.now(), self.core.lot());
        for item in items.iter().filter(|item| item.parked.is_some()) {
            lot.settled(&item.place, 0, Some(now), now);
        }
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|partition| {
            self.partitions.remove(partition);
        });
        self.flow.forget(partitions);
        self.abandon(partitions);
    }

    /// Leaves what was begun of partitions to whoever has them now.
    fn abandon(&mut self, partitions: &[TopicPartition]) {
        self.drop_waiting(partitions);
        self.core.lot().forget(partitions);
        self.close_gaps(partitions);
        self.core.moved();
    }

    /// Gives up the revoked partitions whose messages are done, once the log and the database know it.
    pub(super) fn release(&mut self) {
        let (now, committing) = (self.core.clock.now(), self.committing.is_some());
        let done = |owned: &Owned| {
            let settled = owned.is_settled() && !committing;
            owned.revoked.is_some_and(|since| owned.is_idle() && (settled || now >= since.after(DRAIN)))
        };
        let released: Vec<_> =
            self.partitions.iter().filter(|(_, owned)| done(owned)).map(|(partition, _)| partition.clone()).collect();
        if !released.is_empty() {
            self.forget(&released);
            self.subscription.release(&released);
        }
    }
}

/// Takes partitions over from whoever read them before, and then reads which keys are parked.
async fn take_over(core: &Core, partitions: &[TopicPartition]) -> Result<Taken, StoreError> {
    let topics: Vec<_> =
        partitions.iter().map(|partition| partition.topic.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    // Without an answer they are compared when there is one: what was read by then is read again from the beginning.
    let (owned, counted, ()) =
        tokio::join!(core.store().own(&core.name, partitions), partitions::count(core, partitions), logs::ask(core, &topics));
    partitions::learn(core, counted).await?;
    let (owned, keys) = (owned?, parked::keys(core).await?);
    let replays = replay::running(core, partitions, &keys).await?;
    Ok((owned, keys, replays))
}
