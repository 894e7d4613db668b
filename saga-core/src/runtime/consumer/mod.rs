//! The consumer of a service. It takes records from the subscription, schedules them in order per key, and commits what is done.
//!
//! One task owns the subscription, the schedule, the watermarks and the pauses. Lanes and detached messages run in tasks of their own and
//! report when their effects are durable. Database calls run in tasks too, so that this task is never blocked by one of them.

mod gaps;
mod partition;
mod progress;
mod rebalance;
mod replay;
mod retries;
mod stuck;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::watch, task::JoinSet};

use self::{
    gaps::Skipped,
    partition::{Owned, Stage},
    progress::Advanced,
    rebalance::TakenOver,
    replay::{Moved, Refused},
    stuck::Stuck,
};
use super::{
    core::Core,
    detached,
    fence::{Disposition, Shutdown},
    gap::Gap,
    item::Item,
    lane::{self, LaneResult},
    panics::{Panics, Restarts, Task, asked, guard, guarded, joined},
    parked::Loaded,
    saga,
    sight::Reading,
};
use crate::{
    engine::{
        admission::Admission,
        backpressure::{Backpressure, PauseReason},
        batch::Origin,
        batch_size::BatchSize,
        parking::TopicKey,
        schedule::{Mode, Schedule},
    },
    message::{Received, TopicPartition},
    runtime::metrics::TopicSeries,
    time::Timestamp,
    transport::{Delivery, Subscription, TransportError},
};

/// The result of a task: the messages that it ran.
struct Finished {
    mode: Mode,
    items: Vec<Item>,
    /// The disposition of each item, in the same order.
    dispositions: Vec<Disposition>,
    /// How long the lane's transaction was open.
    held: Duration,
}

/// How often the consumer reports the positions of its partitions to the log monitor.
const SHOW: Duration = Duration::from_secs(1);

/// The offsets of one topic that were to be committed, and the result.
type Committed = (Vec<(TopicPartition, i64)>, Result<(), TransportError>);

/// Consumes until the service stops, at first with `subscription`, if there is one. Without one, after a panic, and when the subscription ends,
/// the service joins its group; unfinished messages are then delivered again.
pub(crate) async fn run(core: Arc<Core>, mut subscription: Option<Box<dyn Subscription>>, stopping: watch::Receiver<bool>) {
    let (stop, mut restarts, mut failed_joins) = (Shutdown::new(stopping.clone()), Restarts::default(), 0);
    loop {
        let subscribed = match subscription.take() {
            Some(subscription) => Ok(Ok(subscription)),
            None => {
                let topics = core.topics();
                let joined = tokio::select! {
                    joined = guarded(core.transport.subscribe(&core.name, &topics)) => joined,
                    () = stop.requested() => return,
                };
                match &joined {
                    Ok(Ok(_)) => core.sight.readable(),
                    Ok(Err(error)) => drop(core.sight.unreadable(error, core.clock.now())),
                    Err(_) => {}
                }
                joined
            }
        };
        let text = match subscribed {
            Ok(Ok(subscription)) => {
                failed_joins = 0;
                let mut consumer = Consumer::new(core.clone(), subscription, stopping.clone());
                match guarded(consumer.run()).await {
                    Ok(()) if stop.is_requested() => {
                        consumer.subscription.close().await;
                        return;
                    }
                    ended => {
                        consumer.give_up().await;
                        ended.err()
                    }
                }
            }
            Ok(Err(error)) => {
                // An error that lasts becomes a condition.
                match failed_joins {
                    0 => tracing::warn!(service = &*core.name, %error, "the group could not be joined; trying again"),
                    _ => tracing::debug!(service = &*core.name, %error, "the group could not be joined; trying again"),
                }
                if stop.sleep(&core, core.outage_backoff(failed_joins)).await {
                    return;
                }
                failed_joins = failed_joins.saturating_add(1);
                continue;
            }
            Err(text) => Some(text),
        };
        if let Some(text) = text {
            Panics::note(&core, "consumer", Task::Vital, &text);
        }
        if stop.sleep(&core, restarts.wait(core.clock.now())).await {
            return;
        }
    }
}

/// The consumer of one service.
pub(crate) struct Consumer {
    core: Arc<Core>,
    subscription: Box<dyn Subscription>,
    partitions: HashMap<TopicPartition, Owned>,
    schedule: Schedule<Item>,
    batch_size: BatchSize,
    backpressure: Backpressure,
    tasks: JoinSet<Finished>,
    loads: JoinSet<Vec<Loaded>>,
    /// The task that acquires partitions; at most one at a time.
    takeovers: JoinSet<TakenOver>,
    /// Tasks that set partitions to their oldest record.
    skips: JoinSet<Skipped>,
    /// Tasks that write a step of a replay.
    moves: JoinSet<Moved>,
    /// Replays that cannot be done and are to be marked as refused.
    refused: Vec<Refused>,
    /// The counter of log changes for which all partitions were last compared.
    compared: u64,
    /// The task that writes the applied offsets to the database; at most one at a time.
    advances: JoinSet<Advanced>,
    /// The earliest time of the next write and, after a failure, of the next attempt.
    advance_next: Timestamp,
    advance_again: Option<Timestamp>,
    failed_advances: u32,
    stop: Shutdown,
    /// The total size of the parked messages in memory, in bytes.
    parked_bytes: usize,
    held_running: usize,
    detached_running: usize,
    /// Commits in progress, and their topics.
    commits: FuturesUnordered<BoxFuture<'static, Committed>>,
    committing: BTreeSet<String>,
    /// Partitions whose last commit failed.
    failing: BTreeSet<TopicPartition>,
    /// Consecutive failed commits, and the time of the next attempt.
    failed_commits: u32,
    commit_again: Option<Timestamp>,
    topics: HashMap<String, TopicSeries>,
    /// Consecutive errors of the subscription, and when to ask it again.
    outages: u32,
    ask_again: Option<Timestamp>,
    full_keys: Vec<(TopicPartition, TopicKey)>,
    /// Whether too many keys have parked messages, so that all partitions are paused.
    lot_full: bool,
    /// Whether the outbox is full, so that no message is started.
    outbox_full: bool,
    /// Messages that can currently be neither handled nor given up.
    stuck: Stuck,
    /// Whether the subscription has ended.
    closed: bool,
    /// When the positions of the partitions are reported next.
    show_at: Timestamp,
}

impl Consumer {
    pub(crate) fn new(core: Arc<Core>, subscription: Box<dyn Subscription>, stopping: watch::Receiver<bool>) -> Self {
        let backpressure = Backpressure::new(core.settings.queue_messages, core.settings.queue_bytes);
        let batch_size = BatchSize::new(core.settings.batch_messages, core.settings.batch_time());
        Self {
            takeovers: JoinSet::new(),
            skips: JoinSet::new(),
            moves: JoinSet::new(),
            refused: Vec::new(),
            compared: 0,
            advances: JoinSet::new(),
            advance_next: core.clock.now(),
            advance_again: None,
            failed_advances: 0,
            stop: Shutdown::new(stopping),
            show_at: core.clock.now(),
            core,
            subscription,
            backpressure,
            partitions: HashMap::new(),
            schedule: Schedule::default(),
            batch_size,
            tasks: JoinSet::new(),
            loads: JoinSet::new(),
            parked_bytes: 0,
            held_running: 0,
            detached_running: 0,
            commits: FuturesUnordered::new(),
            committing: BTreeSet::new(),
            failing: BTreeSet::new(),
            failed_commits: 0,
            commit_again: None,
            topics: HashMap::new(),
            outages: 0,
            ask_again: None,
            full_keys: Vec::new(),
            lot_full: false,
            outbox_full: false,
            stuck: Stuck::default(),
            closed: false,
        }
    }

    /// Consumes until the service stops or the subscription ends. When the service stops, running messages are finished, and what is done
    /// is committed.
    async fn run(&mut self) {
        self.core.consuming.store(true, Ordering::SeqCst);
        let stop = self.stop.clone();
        while !stop.is_requested() && !self.closed {
            self.take_over();
            self.compare_logs();
            self.try_stuck();
            self.skip();
            self.replay();
            self.dispatch();
            self.commit();
            self.advance();
            self.release();
            self.steer();
            let core = self.core.clone();
            let (due, ask_again, commit_again) = (core.parked().next_due(), self.ask_again, self.commit_again);
            self.show();
            let again =
                [self.wanted_at(), self.skip_at(), self.advance_at(), self.replay_at(), self.stuck.next(), Some(self.show_at)]
                    .into_iter()
                    .flatten()
                    .min();
            tokio::select! {
                delivery = self.subscription.next(), if ask_again.is_none() => self.take(delivery),
                Some(finished) = self.tasks.join_next(), if !self.tasks.is_empty() => self.finish(joined(finished)),
                Some(loaded) = self.loads.join_next(), if !self.loads.is_empty() => self.enqueue_parked(joined(loaded)),
                Some(taken) = self.takeovers.join_next(), if !self.takeovers.is_empty() => self.taken_over(joined(taken)),
                Some(skipped) = self.skips.join_next(), if !self.skips.is_empty() => self.skipped(joined(skipped)),
                Some(moved) = self.moves.join_next(), if !self.moves.is_empty() => self.replay_moved(joined(moved)),
                Some(advanced) = self.advances.join_next(), if !self.advances.is_empty() => self.advanced(joined(advanced)),
                Some(committed) = self.commits.next(), if !self.commits.is_empty() => self.committed(committed),
                () = sleep_until(&core, due), if self.has_room_for_parked() => self.load_due(),
                () = sleep_until(&core, ask_again) => self.ask_again = None,
                () = sleep_until(&core, commit_again) => self.commit_again = None,
                () = sleep_until(&core, again) => {}
                () = core.parked_wake.notified() => {}
                () = core.outbox_room.notified(), if self.outbox_full => {}
                () = stop.requested() => {}
            }
        }
        if stop.is_requested() {
            self.finish_running().await;
        }
        self.core.consuming.store(false, Ordering::SeqCst);
    }

    /// Ends without finishing running work. That work cannot commit once the partitions have been acquired again under a new epoch.
    async fn give_up(mut self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let core = self.core.clone();
        core.consuming.store(false, Ordering::SeqCst);
        let ending = async {
            tokio::join!(
                self.tasks.shutdown(),
                self.loads.shutdown(),
                self.takeovers.shutdown(),
                self.skips.shutdown(),
                self.moves.shutdown(),
                self.advances.shutdown(),
            );
        };
        // A task that ignores its cancellation ends later. Its transaction is refused by the epoch check.
        let _ = tokio::time::timeout(PATIENCE, ending).await;
        let partitions: Vec<_> = self.partitions.keys().cloned().collect();
        core.parked().forget_all();
        self.close_gaps(&partitions);
        self.forget_stuck();
        core.sight.reads(std::collections::BTreeMap::new());
        core.sight.committed(Ok(()), core.clock.now());
        if std::mem::take(&mut self.lot_full) {
            core.conditions.clear(retries::TOO_MANY_KEYS, "", core.clock.now());
        }
        let closed = guarded(tokio::time::timeout(PATIENCE, self.subscription.close())).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::warn!(service = &*core.name, "the group could not be left in good order");
        }
        core.record_activity();
    }

    fn take(&mut self, delivery: Result<Delivery, TransportError>) {
        match delivery {
            Ok(Delivery::Records { partition, records }) => self.records(&partition, records),
            Ok(Delivery::Passed { partition, next }) => self.passed(&partition, next),
            Ok(Delivery::Assigned(partitions)) => self.assigned(partitions),
            Ok(Delivery::Revoked(partitions)) => self.revoked(&partitions),
            Ok(Delivery::Lost(partitions)) => self.lost(&partitions),
            Ok(Delivery::Gap { partition, wanted, oldest, end }) => self.gap(Gap::told(partition, wanted, oldest, end)),
            Err(error) => {
                let (service, now) = (&*self.core.name, self.core.clock.now());
                // An error that lasts becomes a condition.
                match self.core.sight.unreadable(&error, now) {
                    true => tracing::info!(service, %error, "the log gives no records; asking again"),
                    false => tracing::debug!(service, %error, "the log gives no records; asking again"),
                }
                self.closed |= matches!(error, TransportError::Closed);
                self.ask_again = Some(now.after(self.core.outage_backoff(self.outages)));
                self.outages = self.outages.saturating_add(1);
                return;
            }
        }
        if std::mem::take(&mut self.outages) > 0 {
            self.core.sight.readable();
        }
    }

    fn records(&mut self, partition: &TopicPartition, records: Vec<Received>) {
        let Some(owned) = self.partitions.get_mut(partition) else { return };
        if owned.stage != Stage::Reading || owned.revoked.is_some() {
            return;
        }
        let records = owned.within_replay(records, self.core.clock.now());
        let epoch = owned.epoch;
        let (mut messages, mut bytes) = (0, 0);
        let now = self.core.clock.now();
        for received in records {
            let offset = received.offset;
            if let Some(written) = received.record.timestamp.time() {
                self.core.time.saw_record(&partition.topic, written, now);
            }
            let core = &self.core;
            let read = guard(|| Item::fresh(core, received.clone(), epoch));
            let (item, others) = read.unwrap_or_else(|text| {
                Panics::note(core, "delivery", Task::Helping, &text);
                (Item::unreadable(core, received, epoch, text), Vec::new())
            });
            if item.admission == Admission::Skip {
                owned.watermark.begin(offset);
                let series = self.topics.entry(partition.topic.clone());
                let series = series.or_insert_with(|| TopicSeries::new(&self.core.metrics, &partition.topic));
                match item.received.record.value {
                    Some(_) => series.skipped_unknown_type.increment(),
                    None => series.skipped_tombstone.increment(),
                }
                owned.watermark.finish(offset);
                continue;
            }
            if saga::is_ignored(core, &item) {
                owned.watermark.begin(offset);
                owned.watermark.finish(offset);
                continue;
            }
            owned.watermark.begin_parts(offset, 1 + others.len());
            for mut item in std::iter::once(item).chain(others) {
                item.again = owned.again(offset, &item);
                messages += 1;
                bytes += item.received.record.size();
                let mode = item.mode(&self.core);
                self.schedule.push(item.place.key.clone(), mode, item);
            }
        }
        if owned.watermark.window() > self.core.settings.queue_messages.saturating_mul(16) {
            self.backpressure.pause(partition, PauseReason::Window);
        }
        self.backpressure.record_taken(partition, messages, bytes);
        self.pause_when_full();
        self.core.record_activity();
    }

    /// Records that the offsets before `next` that were not delivered have no records.
    fn passed(&mut self, partition: &TopicPartition, next: i64) {
        let Some(owned) = self.partitions.get_mut(partition) else { return };
        if owned.stage == Stage::Reading && owned.revoked.is_none() {
            owned.pass(next, self.core.clock.now());
            self.core.record_activity();
        }
    }

    fn pause_when_full(&mut self) {
        if self.backpressure.is_full() {
            self.partitions.keys().for_each(|partition| self.backpressure.pause(partition, PauseReason::Full));
        }
    }

    /// Records that `items` are no longer in memory.
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
        self.backpressure.record_done(messages, bytes);
    }

    /// Starts as many messages as the outbox, the lanes and the limit of detached handlers allow.
    fn dispatch(&mut self) {
        // While the outbox is full nothing starts: the queue fills up, and the partitions are paused.
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
                let items = self.schedule.take_batch(self.batch_size.next_limit());
                if !items.is_empty() {
                    self.held_running += 1;
                    self.start(Mode::InTransaction, items);
                    continue;
                }
            }
            return;
        }
    }

    fn start(&mut self, mode: Mode, items: Vec<Item>) {
        for item in &items {
            if let Some(owned) = self.partitions.get_mut(&item.partition()).filter(|owned| owned.epoch == item.epoch) {
                owned.running += 1;
            }
        }
        let (core, stop) = (self.core.clone(), self.stop.clone());
        let counted = core.count_running(items.len());
        self.tasks.spawn(async move {
            let _counted = counted;
            let mut restarts = Restarts::default();
            let run = || async {
                match mode {
                    Mode::InTransaction => lane::run(&core, &items, &stop).await,
                    Mode::Detached => {
                        LaneResult { dispositions: vec![detached::run(&core, &items[0], &stop).await], held: Duration::ZERO }
                    }
                }
            };
            // The lane handles a panic within its transaction. After a panic outside it, the messages run again.
            let LaneResult { dispositions, held } = loop {
                match guarded(run()).await {
                    Ok(ran) => break ran,
                    Err(text) => Panics::note(&core, "delivery", Task::Vital, &text),
                }
                if stop.sleep(&core, restarts.wait(core.clock.now())).await {
                    break LaneResult { dispositions: vec![Disposition::GivenBack; items.len()], held: Duration::ZERO };
                }
            };
            Finished { mode, items, dispositions, held }
        });
    }

    fn finish(&mut self, finished: Finished) {
        match finished.mode {
            Mode::InTransaction => {
                self.held_running -= 1;
                self.batch_size.record_batch(finished.items.len(), finished.held);
            }
            Mode::Detached => self.detached_running -= 1,
        }
        let alone = Stuck::keys(&finished.items, &finished.dispositions);
        let mut last: Option<&Bytes> = None;
        for (item, disposition) in finished.items.iter().zip(&finished.dispositions) {
            let partition = item.partition();
            let fresh = item.origin == Origin::Fresh;
            if let Some(owned) = self.partitions.get_mut(&partition).filter(|owned| owned.epoch == item.epoch) {
                owned.running = owned.running.saturating_sub(1);
                if fresh && *disposition == Disposition::Done {
                    owned.watermark.finish_part(item.received.offset, item.part);
                }
            }
            if *disposition == Disposition::Fenced {
                self.core.series.fenced.increment();
                self.end_runs(std::slice::from_ref(item));
                self.fenced(&partition, item.epoch);
            }
            if fresh {
                self.watch_parked(&partition, &item.place);
            }
            if last != Some(&item.place.key) && !alone.contains(&item.place.key) {
                self.schedule.finish(&item.place.key);
                last = Some(&item.place.key);
            }
        }
        let finished = self.leave_alone(finished);
        self.left_memory(&finished);
        self.core.record_activity();
    }

    /// Pauses and resumes partitions at the subscription.
    fn steer(&mut self) {
        self.free_parked();
        for (partition, owned) in &self.partitions {
            if owned.watermark.window() <= self.core.settings.queue_messages {
                self.backpressure.resume(partition, PauseReason::Window);
            }
        }
        let changes = self.backpressure.take_changes();
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

    /// Reports the positions of the partitions to the log monitor, once a second.
    fn show(&mut self) {
        let now = self.core.clock.now();
        // A clock that was set back does not delay the report.
        if self.show_at > now && self.show_at <= now.after(SHOW) {
            return;
        }
        self.show_at = now.after(SHOW);
        let full = self.outbox_full;
        let reading = |(partition, owned): (&TopicPartition, &Owned)| {
            let wanted =
                owned.stage == Stage::Reading && owned.revoked.is_none() && !full && !self.backpressure.is_paused(partition);
            (partition.clone(), Reading { next: owned.watermark.next(), wanted })
        };
        self.core.sight.reads(self.partitions.iter().map(reading).collect());
    }

    /// Stops: drops the waiting messages, waits for the running ones and commits what is done.
    async fn finish_running(&mut self) {
        self.schedule.drop_waiting(|_| false);
        self.forget_stuck();
        while let Some(finished) = self.tasks.join_next().await {
            if let Ok(finished) = finished {
                self.finish(finished);
            }
        }
        self.finish_progress(self.core.settings.stop_timeout() / 5).await;
    }
}

/// Waits until `at`, or forever without one.
async fn sleep_until(core: &Core, at: Option<Timestamp>) {
    match at {
        Some(at) => core.clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
