//! The consumer of a service: takes records from its subscription, has them run in order per key, and commits what is done.
//!
//! One task owns the subscription, the schedule, the watermarks and the pauses; lanes and detached messages run in tasks of
//! their own and report back when their effects are durable. What is asked of the database is asked in tasks too: this one
//! waits for nothing but what comes next.

mod gaps;
mod partition;
mod progress;
mod rebalance;
mod replay;
mod retries;
mod stuck;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use tokio::{sync::watch, task::JoinSet};

use self::{
    gaps::Skipped,
    partition::{Owned, Stage},
    progress::{Advanced, pending},
    rebalance::TakenOver,
    replay::{Moved, Refused},
    stuck::Stuck,
};
use super::{
    core::Core,
    detached,
    fence::{Fate, Stop},
    gap::Gap,
    item::Item,
    lane::{self, Ran},
    lookout::Reading,
    panics::{Panics, Restarts, Task, asked, guard, guarded, joined},
    parked::Loaded,
};
use crate::{
    engine::{
        batch::Origin,
        flow::{Flow, Reason},
        pace::Pace,
        parking::Place,
        schedule::{Mode, Schedule},
    },
    message::{Received, TopicPartition},
    runtime::metrics::TopicSeries,
    time::Timestamp,
    transport::{Delivery, Subscription, TransportError},
};

/// What a task reports: the messages it ran.
struct Finished {
    mode: Mode,
    items: Vec<Item>,
    /// What became of each.
    fates: Vec<Fate>,
    /// How long the transaction of a lane was held.
    held: Duration,
}

/// How often the lookout is shown where the partitions are.
const SHOW: Duration = Duration::from_secs(1);

type Commit = BoxFuture<'static, (Vec<(TopicPartition, i64)>, Result<(), TransportError>)>;

/// Consumes, first by `subscription`, until the service stops. After a panic, and when the subscription has ended by itself, the group is
/// left, and joined anew: what was under way is delivered again.
pub(crate) async fn run(
    core: Arc<Core>,
    topics: Vec<String>,
    subscription: Box<dyn Subscription>,
    stopping: watch::Receiver<bool>,
) {
    let (stop, mut restarts, mut subscription) = (Stop::new(stopping.clone()), Restarts::default(), Some(subscription));
    loop {
        let subscribed = match subscription.take() {
            Some(subscription) => Ok(Ok(subscription)),
            None => {
                let joined = guarded(core.transport.subscribe(&core.name, &topics)).await;
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
                let mut consumer = Consumer::new(core.clone(), subscription, stopping.clone());
                match guarded(consumer.run()).await {
                    Ok(()) if stop.is_there() => {
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
                tracing::warn!(service = &*core.name, %error, "the group could not be joined anew; trying again");
                None
            }
            Err(text) => Some(text),
        };
        if let Some(text) = text {
            Panics::note(&core, "consumer", Task::Vital, &text);
        }
        if stop.comes_within(&core, restarts.wait(core.clock.now())).await {
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
    pace: Pace,
    flow: Flow,
    tasks: JoinSet<Finished>,
    loads: JoinSet<Vec<Loaded>>,
    /// Partitions are taken over, at most one task at a time.
    takeovers: JoinSet<TakenOver>,
    /// Partitions are set to their oldest record.
    skips: JoinSet<Skipped>,
    /// Partitions are set to where a replay begins, and back.
    moves: JoinSet<Moved>,
    /// Replays that cannot be done: that is to be noted.
    refused: Vec<Refused>,
    /// The last change of the logs for which all partitions were compared.
    compared: u64,
    /// The database is told how far partitions are applied, at most one task at a time.
    advances: JoinSet<Advanced>,
    /// When it may be told again, and when after a failure.
    advance_next: Timestamp,
    advance_again: Option<Timestamp>,
    failed_advances: u32,
    stop: Stop,
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
    /// Too many keys have parked messages: nothing is read.
    lot_full: bool,
    /// Nothing is started because the outbox is full.
    outbox_full: bool,
    /// Messages that can be neither handled nor given up now.
    stuck: Stuck,
    /// The subscription has ended.
    closed: bool,
    /// When it shows next where the partitions are.
    show_at: Timestamp,
}

impl Consumer {
    pub(crate) fn new(core: Arc<Core>, subscription: Box<dyn Subscription>, stopping: watch::Receiver<bool>) -> Self {
        let flow = Flow::new(core.settings.queue_messages, core.settings.queue_bytes);
        let pace = Pace::new(core.settings.batch_messages, core.settings.batch_time());
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
            stop: Stop::new(stopping),
            show_at: core.clock.now(),
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
            lot_full: false,
            outbox_full: false,
            stuck: Stuck::default(),
            closed: false,
        }
    }

    /// Consumes until the service stops; then what runs is finished, and what is done is committed. It ends earlier when the subscription
    /// does.
    async fn run(&mut self) {
        self.core.consuming.store(true, Ordering::SeqCst);
        let stop = self.stop.clone();
        while !stop.is_there() && !self.closed {
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
            let (due, ask_again, commit_again) = (core.lot().next_due(), self.ask_again, self.commit_again);
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
                (offsets, result) = pending(self.committing.as_mut()) => self.committed(offsets, result),
                () = sleep_until(&core, due), if self.has_room_for_parked() => self.load_due(),
                () = sleep_until(&core, ask_again) => self.ask_again = None,
                () = sleep_until(&core, commit_again) => self.commit_again = None,
                () = sleep_until(&core, again) => {}
                () = core.lot_wake.notified() => {}
                () = core.outbox_room.notified(), if self.outbox_full => {}
                () = stop.comes() => {}
            }
        }
        if stop.is_there() {
            self.finish_running().await;
        }
        self.core.consuming.store(false, Ordering::SeqCst);
    }

    /// Ends in the middle of whatever it was doing. What is under way has no effect any more once its partitions are taken over anew.
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
        // One that does not end by being told so ends later, and is refused.
        let _ = tokio::time::timeout(PATIENCE, ending).await;
        let partitions: Vec<_> = self.partitions.keys().cloned().collect();
        core.lot().forget_all();
        self.close_gaps(&partitions);
        self.forget_stuck();
        core.sight.reads(std::collections::BTreeMap::new());
        if std::mem::take(&mut self.lot_full) {
            core.conditions.clear(retries::TOO_MANY_KEYS, "", core.clock.now());
        }
        let closed = guarded(tokio::time::timeout(PATIENCE, self.subscription.close())).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::warn!(service = &*core.name, "the group could not be left in good order");
        }
        core.moved();
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
                // What lasts becomes a condition.
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
            owned.watermark.begin(offset);
            let core = &self.core;
            let read = guard(|| Item::fresh(core, received.clone(), epoch));
            let mut item = read.unwrap_or_else(|text| {
                Panics::note(core, "delivery", Task::Helping, &text);
                Item::unreadable(core, received, epoch, text)
            });
            item.again = owned.again(offset);
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

    /// Takes note that what is before `next` and was not delivered has no record.
    fn passed(&mut self, partition: &TopicPartition, next: i64) {
        let Some(owned) = self.partitions.get_mut(partition) else { return };
        if owned.stage == Stage::Reading && owned.revoked.is_none() {
            owned.pass(next, self.core.clock.now());
            self.core.moved();
        }
    }

    fn pause_when_full(&mut self) {
        if self.flow.is_full() {
            self.partitions.keys().for_each(|partition| self.flow.hold(partition, Reason::Full));
        }
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
            if let Some(owned) = self.partitions.get_mut(&item.partition()).filter(|owned| owned.epoch == item.epoch) {
                owned.running += 1;
            }
        }
        let (core, stop) = (self.core.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let mut restarts = Restarts::default();
            let run = || async {
                match mode {
                    Mode::Held => lane::run(&core, &items, &stop).await,
                    Mode::Detached => Ran { fates: vec![detached::run(&core, &items[0], &stop).await], held: Duration::ZERO },
                }
            };
            // What panics in a transaction is found out there; what does so around it is tried again.
            let Ran { fates, held } = loop {
                match guarded(run()).await {
                    Ok(ran) => break ran,
                    Err(text) => Panics::note(&core, "delivery", Task::Vital, &text),
                }
                if stop.comes_within(&core, restarts.wait(core.clock.now())).await {
                    break Ran { fates: vec![Fate::GivenBack; items.len()], held: Duration::ZERO };
                }
            };
            Finished { mode, items, fates, held }
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
        let alone = Stuck::keys(&finished.items, &finished.fates);
        let mut last: Option<&Bytes> = None;
        for (item, fate) in finished.items.iter().zip(&finished.fates) {
            let partition = item.partition();
            let fresh = item.origin == Origin::Fresh;
            if let Some(owned) = self.partitions.get_mut(&partition).filter(|owned| owned.epoch == item.epoch) {
                owned.running = owned.running.saturating_sub(1);
                if fresh && *fate == Fate::Done {
                    owned.watermark.finish(item.received.offset);
                }
            }
            if *fate == Fate::Fenced {
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
        self.core.moved();
    }

    /// Tells the subscription which partitions to pause and to resume.
    fn steer(&mut self) {
        self.free_parked();
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

    /// Shows the lookout where the partitions are, once a second.
    fn show(&mut self) {
        let now = self.core.clock.now();
        // A clock that went back does not delay it.
        if self.show_at > now && self.show_at <= now.after(SHOW) {
            return;
        }
        self.show_at = now.after(SHOW);
        let full = self.outbox_full;
        let reading = |(partition, owned): (&TopicPartition, &Owned)| {
            let wanted = owned.stage == Stage::Reading && owned.revoked.is_none() && !full && !self.flow.is_held(partition);
            (partition.clone(), Reading { next: owned.watermark.next(), wanted })
        };
        self.core.sight.reads(self.partitions.iter().map(reading).collect());
    }

    /// Ends: what waits is given back, what runs is finished, what is done is committed.
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

/// Waits until it is `at`; for ever without a time.
async fn sleep_until(core: &Core, at: Option<Timestamp>) {
    match at {
        Some(at) => core.clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
