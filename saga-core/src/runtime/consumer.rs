//! The consumer of a service: takes records from its subscription, has them run in order per key, and commits what is done.
//!
//! One task owns the subscription, the schedule, the watermarks and the pauses; lanes and detached messages run in tasks of
//! their own and report back when their effects are durable.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use tokio::{sync::watch, task::JoinSet};

use super::{
    core::Core,
    detached,
    item::Item,
    lane,
    metrics::PartitionSeries,
    parked::{self, Loaded},
};
use crate::{
    engine::{
        batch::Origin,
        flow::{Flow, Reason},
        pace::Pace,
        parking::Place,
        schedule::{Mode, Schedule},
        watermark::Watermark,
    },
    message::{Received, TopicPartition},
    runtime::metrics::TopicSeries,
    store::ParkedMessage,
    time::Timestamp,
    transport::{Delivery, Subscription, TransportError},
};

/// A partition this member reads.
struct Owned {
    watermark: Watermark,
    /// Messages in lanes.
    running: usize,
    /// Wanted by another member: nothing new is begun.
    revoked: bool,
    series: PartitionSeries,
}

/// What a task reports: the messages it ran.
struct Finished {
    mode: Mode,
    items: Vec<Item>,
    /// How long the transaction of a lane was held.
    held: Duration,
}

type Commit = BoxFuture<'static, (Vec<(TopicPartition, i64)>, Result<(), TransportError>)>;

/// The consumer of one service.
pub(crate) struct Consumer {
    core: Arc<Core>,
    subscription: Box<dyn Subscription>,
    partitions: HashMap<TopicPartition, Owned>,
    schedule: Schedule<Item>,
    pace: Pace,
    flow: Flow,
    tasks: JoinSet<Finished>,
    loads: JoinSet<Vec<Loaded>>,
    /// Bytes of the parked messages in memory.
    parked_bytes: usize,
    held_running: usize,
    detached_running: usize,
    committing: Option<Commit>,
    /// Commits that failed in a row, and when to try again.
    failed_commits: u32,
    commit_again: Option<Timestamp>,
    topics: HashMap<String, TopicSeries>,
    /// Errors of the subscription in a row, and when to ask it again.
    outages: u32,
    ask_again: Option<Timestamp>,
    full_keys: Vec<(TopicPartition, Place)>,
    /// Nothing is started because the outbox is full.
    outbox_full: bool,
}

impl Consumer {
    pub(crate) fn new(core: Arc<Core>, subscription: Box<dyn Subscription>) -> Self {
        let flow = Flow::new(core.settings.queue_messages, core.settings.queue_bytes);
        let pace = Pace::new(core.settings.batch_messages, core.settings.batch_time());
        Self {
            core,
            subscription,
            flow,
            partitions: HashMap::new(),
            schedule: Schedule::default(),
            pace,
            tasks: JoinSet::new(),
            loads: JoinSet::new(),
            parked_bytes: 0,
            held_running: 0,
            detached_running: 0,
            committing: None,
            failed_commits: 0,
            commit_again: None,
            topics: HashMap::new(),
            outages: 0,
            ask_again: None,
            full_keys: Vec::new(),
            outbox_full: false,
        }
    }

    /// Consumes until `stopping`; then what runs is finished, what is done is committed, and the group is left.
    pub(crate) async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        self.core.consuming.store(true, Ordering::SeqCst);
        while !*stopping.borrow_and_update() {
            self.dispatch();
            self.commit();
            self.release();
            self.steer();
            let core = self.core.clone();
            let (due, ask_again, commit_again) = (core.lot().next_due(), self.ask_again, self.commit_again);
            tokio::select! {
                delivery = self.subscription.next(), if ask_again.is_none() => self.take(delivery).await,
                Some(finished) = self.tasks.join_next(), if !self.tasks.is_empty() => match finished {
                    Ok(finished) => self.finish(finished),
                    Err(error) => return self.fail(&error),
                },
                Some(loaded) = self.loads.join_next(), if !self.loads.is_empty() => match loaded {
                    Ok(loaded) => self.enqueue_parked(loaded),
                    Err(error) => return self.fail(&error),
                },
                (offsets, result) = pending(self.committing.as_mut()) => self.committed(offsets, result),
                () = sleep_until(&core, due), if self.has_room_for_parked() => self.load_due(),
                () = sleep_until(&core, ask_again) => self.ask_again = None,
                () = sleep_until(&core, commit_again) => self.commit_again = None,
                () = core.lot_wake.notified() => {}
                () = core.outbox_room.notified(), if self.outbox_full => {}
                _ = stopping.changed() => {}
            }
        }
        self.finish_running().await;
        self.core.consuming.store(false, Ordering::SeqCst);
        self.subscription.close().await;
    }

    /// A task of ours has panicked: its messages are neither done nor given back. Better to stop, visibly, than to go on.
    fn fail(self, error: &tokio::task::JoinError) {
        tracing::error!(service = &*self.core.name, %error, "the consumer has stopped; restart the process");
        self.core.consuming.store(false, Ordering::SeqCst);
    }

    async fn take(&mut self, delivery: Result<Delivery, TransportError>) {
        match delivery {
            Ok(Delivery::Records { partition, records }) => self.records(&partition, records),
            Ok(Delivery::Assigned(partitions)) => self.assigned(partitions).await,
            Ok(Delivery::Revoked(partitions)) => self.revoked(&partitions),
            Ok(Delivery::Lost(partitions)) => self.lost(&partitions),
            Err(error) => {
                tracing::warn!(service = &*self.core.name, %error, "the log gives no records; waiting");
                self.ask_again = Some(self.core.clock.now().after(self.core.outage_backoff(self.outages)));
                self.outages = self.outages.saturating_add(1);
                return;
            }
        }
        self.outages = 0;
    }

    fn records(&mut self, partition: &TopicPartition, records: Vec<Received>) {
        let Some(owned) = self.partitions.get_mut(partition) else { return };
        if owned.revoked {
            return;
        }
        let (mut messages, mut bytes) = (0, 0);
        for received in records {
            let offset = received.offset;
            owned.watermark.begin(offset);
            let item = Item::fresh(&self.core, received);
            if item.admission == crate::engine::admission::Admission::Skip {
                let series = self.topics.entry(partition.topic.clone());
                let series = series.or_insert_with(|| TopicSeries::new(&self.core.metrics, &partition.topic));
                match item.received.record.value {
                    Some(_) => series.skipped_unknown_type.increment(),
                    None => series.skipped_tombstone.increment(),
                }
                owned.watermark.finish(offset);
                continue;
            }
            messages += 1;
            bytes += item.received.record.size();
            let mode = item.mode(&self.core);
            self.schedule.push(item.place.key.clone(), mode, item);
        }
        if owned.watermark.window() > self.core.settings.queue_messages.saturating_mul(16) {
            self.flow.hold(partition, Reason::Window);
        }
        self.flow.took(partition, messages, bytes);
        self.pause_when_full();
        self.core.moved();
    }

    async fn assigned(&mut self, partitions: Vec<TopicPartition>) {
        tracing::debug!(service = &*self.core.name, ?partitions, "assigned");
        let mut failures = 0;
        // Before any record of them is looked at, the keys that are parked must be known.
        while let Err(error) = parked::adopt(&self.core, &partitions).await {
            tracing::warn!(service = &*self.core.name, %error, "the parked keys could not be read; waiting");
            self.core.clock.sleep(self.core.outage_backoff(failures)).await;
            failures = failures.saturating_add(1);
        }
        for partition in partitions {
            let series = PartitionSeries::new(&self.core.metrics, &partition.topic, partition.partition);
            let owned = Owned { watermark: Watermark::default(), running: 0, revoked: false, series };
            self.partitions.insert(partition, owned);
        }
        self.pause_when_full();
        self.core.moved();
    }

    fn pause_when_full(&mut self) {
        if self.flow.is_full() {
            self.partitions.keys().for_each(|partition| self.flow.hold(partition, Reason::Full));
        }
    }

    fn revoked(&mut self, partitions: &[TopicPartition]) {
        tracing::debug!(service = &*self.core.name, ?partitions, "revoked");
        for partition in partitions {
            if let Some(owned) = self.partitions.get_mut(partition) {
                owned.revoked = true;
            }
        }
        self.drop_waiting(partitions);
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        tracing::warn!(service = &*self.core.name, ?partitions, "partitions were lost to another member");
        self.drop_waiting(partitions);
        self.forget(partitions);
    }

    fn drop_waiting(&mut self, partitions: &[TopicPartition]) {
        let dropped = self.schedule.drop_waiting(|item| !partitions.contains(&item.partition()));
        self.left_memory(&dropped);
    }

    /// Takes note that `items` are not in memory any more.
    fn left_memory(&mut self, items: &[Item]) {
        let (mut messages, mut bytes) = (0, 0);
        for item in items {
            let size = item.received.record.size();
            match item.origin {
                Origin::Fresh => {
                    messages += 1;
                    bytes += size;
                }
                Origin::Parked { .. } => self.parked_bytes = self.parked_bytes.saturating_sub(size),
            }
        }
        self.flow.done(messages, bytes);
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|partition| {
            self.partitions.remove(partition);
        });
        self.flow.forget(partitions);
        let owned = &self.partitions;
        self.core.lot().retain(|topic, partition| owned.contains_key(&TopicPartition::new(topic, partition)));
    }

    /// Starts what may run.
    fn dispatch(&mut self) {
        // A full outbox takes nothing more: the queue fills, and the partitions pause.
        loop {
            self.outbox_full = self.core.outbox_full();
            if self.outbox_full {
                return;
            }
            if self.detached_running < self.core.settings.concurrency
                && let Some(item) = self.schedule.take_detached()
            {
                self.detached_running += 1;
                self.start(Mode::Detached, vec![item]);
                continue;
            }
            if self.held_running < self.core.settings.lanes {
                let items = self.schedule.take_held(self.pace.most());
                if !items.is_empty() {
                    self.held_running += 1;
                    self.start(Mode::Held, items);
                    continue;
                }
            }
            return;
        }
    }

    fn start(&mut self, mode: Mode, items: Vec<Item>) {
        for item in &items {
            if let Some(owned) = self.partitions.get_mut(&item.partition()) {
                owned.running += 1;
            }
        }
        let core = self.core.clone();
        self.tasks.spawn(async move {
            let held = match mode {
                Mode::Held => lane::run(&core, &items).await,
                Mode::Detached => {
                    detached::run(&core, &items[0]).await;
                    Duration::ZERO
                }
            };
            Finished { mode, items, held }
        });
    }

    fn finish(&mut self, finished: Finished) {
        match finished.mode {
            Mode::Held => {
                self.held_running -= 1;
                self.pace.took(finished.items.len(), finished.held);
            }
            Mode::Detached => self.detached_running -= 1,
        }
        let mut last: Option<&Bytes> = None;
        for item in &finished.items {
            let partition = item.partition();
            let fresh = item.origin == Origin::Fresh;
            if let Some(owned) = self.partitions.get_mut(&partition) {
                owned.running = owned.running.saturating_sub(1);
                if fresh {
                    owned.watermark.finish(item.received.offset);
                }
            }
            if fresh {
                self.watch_parked(&partition, &item.place);
            }
            if last != Some(&item.place.key) {
                self.schedule.finish(&item.place.key);
                last = Some(&item.place.key);
            }
        }
        self.left_memory(&finished.items);
        self.core.moved();
    }

    /// Pauses the partition of a key that has too many parked messages.
    fn watch_parked(&mut self, partition: &TopicPartition, place: &Place) {
        if self.core.lot().count(place) >= self.core.settings.parked_per_key {
            self.flow.hold(partition, Reason::Parked);
            let full = (partition.clone(), place.clone());
            if !self.full_keys.contains(&full) {
                self.full_keys.push(full);
            }
        }
    }

    /// Tells the subscription which partitions to pause and to resume.
    fn steer(&mut self) {
        if !self.full_keys.is_empty() {
            let limit = self.core.settings.parked_per_key;
            let lot = self.core.lot();
            self.full_keys.retain(|(_, place)| lot.count(place) > limit / 2);
            drop(lot);
            let full = &self.full_keys;
            for partition in self.partitions.keys().filter(|at| !full.iter().any(|(held, _)| held == *at)) {
                self.flow.free(partition, Reason::Parked);
            }
        }
        for (partition, owned) in &self.partitions {
            if owned.watermark.window() <= self.core.settings.queue_messages {
                self.flow.free(partition, Reason::Window);
            }
        }
        let changes = self.flow.changes();
        if !changes.pause.is_empty() {
            self.subscription.pause(&changes.pause);
        }
        if !changes.resume.is_empty() {
            self.subscription.resume(&changes.resume);
        }
        for (partitions, paused) in [(&changes.pause, 1), (&changes.resume, 0)] {
            for owned in partitions.iter().filter_map(|partition| self.partitions.get(partition)) {
                owned.series.paused.set_count(paused);
            }
        }
    }

    /// Commits what is done, one commit at a time.
    fn commit(&mut self) {
        if self.committing.is_some() || self.commit_again.is_some() {
            return;
        }
        let offsets: Vec<_> = self
            .partitions
            .iter()
            .filter_map(|(partition, owned)| Some((partition.clone(), owned.watermark.committable()?)))
            .collect();
        if offsets.is_empty() {
            return;
        }
        let committing = self.subscription.commit(offsets.clone());
        self.committing = Some(Box::pin(async move { (offsets, committing.await) }));
    }

    fn committed(&mut self, offsets: Vec<(TopicPartition, i64)>, result: Result<(), TransportError>) {
        self.committing = None;
        match result {
            Ok(()) => {
                self.failed_commits = 0;
                for (partition, offset) in offsets {
                    if let Some(owned) = self.partitions.get_mut(&partition) {
                        owned.watermark.committed(offset);
                    }
                }
            }
            // Only a restart would see the records again, and the inbox knows them. The next commit covers these.
            Err(error) => {
                tracing::warn!(service = &*self.core.name, %error, "offsets were not committed; waiting");
                self.commit_again = Some(self.core.clock.now().after(self.core.outage_backoff(self.failed_commits)));
                self.failed_commits = self.failed_commits.saturating_add(1);
            }
        }
        self.core.moved();
    }

    /// Gives up the revoked partitions whose messages are done and committed.
    fn release(&mut self) {
        let done = |owned: &Owned| owned.revoked && owned.running == 0 && owned.watermark.committable().is_none();
        if self.committing.is_some() || !self.partitions.values().any(done) {
            return;
        }
        let released: Vec<_> =
            self.partitions.iter().filter(|(_, owned)| done(owned)).map(|(partition, _)| partition.clone()).collect();
        self.forget(&released);
        self.subscription.release(&released);
    }

    /// Whether parked messages may be read: those in memory are bounded like the fresh ones, apart from them, so that neither
    /// keeps the other out.
    fn has_room_for_parked(&self) -> bool {
        self.loads.is_empty() && self.parked_bytes < self.core.settings.queue_bytes
    }

    fn load_due(&mut self) {
        const KEYS: usize = 64;
        let due = self.core.lot().take_due(self.core.clock.now(), KEYS);
        if !due.is_empty() {
            let (core, room) = (self.core.clone(), self.core.settings.queue_bytes.saturating_sub(self.parked_bytes));
            self.loads.spawn(async move { parked::load(&core, due, room).await });
        }
    }

    fn enqueue_parked(&mut self, loaded: Vec<Loaded>) {
        let now = self.core.clock.now();
        for (place, messages) in loaded {
            let messages = match messages {
                Ok(messages) => messages,
                Err(again) => {
                    self.core.lot().settled(&place, 0, Some(again), now);
                    continue;
                }
            };
            let owner = |message: &ParkedMessage| {
                self.partitions.get(&TopicPartition::new(place.topic.clone(), message.received.partition))
            };
            if messages.first().and_then(owner).is_some_and(|owned| owned.revoked) {
                // The run stays open, so that nothing of the key passes, until the partition is given up.
                continue;
            }
            if messages.first().and_then(owner).is_none() {
                // Settled by somebody else, or another member's by now.
                let mut lot = self.core.lot();
                let count = lot.count(&place);
                lot.settled(&place, count, None, now);
                continue;
            }
            let Some(run) = self.core.lot().loaded(&place, messages.len()) else { continue };
            for message in messages {
                let item = Item::parked(&self.core, message, run);
                self.parked_bytes += item.received.record.size();
                let mode = item.mode(&self.core);
                self.schedule.push(place.key.clone(), mode, item);
            }
        }
        self.core.moved();
    }

    /// Ends: what waits is given back, what runs is finished, what is done is committed.
    async fn finish_running(&mut self) {
        self.schedule.drop_waiting(|_| false);
        while let Some(finished) = self.tasks.join_next().await {
            if let Ok(finished) = finished {
                self.finish(finished);
            }
        }
        if let Some(committing) = self.committing.take() {
            let (offsets, result) = committing.await;
            self.committed(offsets, result);
        }
        self.commit_again = None;
        self.commit();
        if let Some(committing) = self.committing.take() {
            let (offsets, result) = committing.await;
            self.committed(offsets, result);
        }
    }
}

/// Waits for the commit in flight; for ever without one.
async fn pending(commit: Option<&mut Commit>) -> (Vec<(TopicPartition, i64)>, Result<(), TransportError>) {
    match commit {
        Some(commit) => commit.await,
        None => std::future::pending().await,
    }
}

/// Waits until it is `at`; for ever without a time.
async fn sleep_until(core: &Core, at: Option<Timestamp>) {
    match at {
        Some(at) => core.clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
