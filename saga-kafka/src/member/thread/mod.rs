//! The thread that owns the client of a member.
//!
//! It turns: it waits for the [`Bell`](super::bell::Bell), does what it was ordered, takes what the client has, and looks after what
//! has waited long enough. It never waits for anything else, so the client is polled at least every tenth of a second, however
//! long the runtime, the database or the cluster may take.

mod errors;
mod probe;
mod rebalance;
mod starts;
mod watch;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use saga_core::{message::TopicPartition, transport::TransportError};

use self::{probe::Probe, rebalance::Leaving, starts::Start, watch::Watch};
use super::{
    commits::Commits,
    context::{Context, Event},
    feed::{Batch, Feed},
    held::{AllHeld, Stage},
    native,
    orders::Orders,
    record::copied,
};
use crate::{
    KafkaConfig, error::unavailable, observer::Observer, settings, statistics::Board, time::now, troubles::GROUP_REFUSED,
};

/// How long the thread waits at most.
const TICK: Duration = Duration::from_millis(100);

/// What is taken from the client before anything else is looked at, in records and bytes.
const TURN: usize = 1_000;
const TURN_BYTES: usize = 4 << 20;

/// How long commits that are on their way are waited for when the member leaves.
const LAST_COMMITS: Duration = Duration::from_secs(2);

/// How long until the group is joined again after the client has failed for good; the double each time.
const REJOIN: Duration = Duration::from_millis(500);
const REJOIN_AT_MOST: Duration = Duration::from_secs(30);

type Client = BaseConsumer<Context>;

/// What a member is made of.
struct Plan {
    config: KafkaConfig,
    group: String,
    topics: Vec<String>,
    feed: Arc<Feed>,
    observer: Arc<Observer>,
    board: Arc<Board>,
}

/// Why a client is given up.
enum End {
    Closed,
    Failed(TransportError),
}

/// Starts the thread. It ends when the feed is closed.
pub(super) fn spawn(
    config: &KafkaConfig,
    group: &str,
    topics: &[String],
    feed: Arc<Feed>,
    observer: Arc<Observer>,
    board: Arc<Board>,
) -> Result<(), TransportError> {
    let plan = Plan { config: config.clone(), group: group.to_owned(), topics: topics.to_vec(), feed, observer, board };
    let client = plan.client()?;
    let thread = std::thread::Builder::new().name("saga-kafka-polls".into());
    thread
        .spawn(move || plan.guarded(client))
        .map(drop)
        .map_err(|error| TransportError::Unavailable(format!("no thread for a member of a group: {error}")))
}

impl Plan {
    fn client(&self) -> Result<Client, TransportError> {
        let joining = || format!("joining the group `{}`", self.group);
        let context = Context::new(&self.group, Arc::clone(&self.board));
        let mut client: Client = settings::member(&self.config, &self.group)
            .create_with_context(context)
            .map_err(|error| self.config.explain(&error))?;
        let feed = Arc::clone(&self.feed);
        client.set_nonempty_callback(move || feed.bell.ring());
        let topics: Vec<_> = self.topics.iter().map(String::as_str).collect();
        client.subscribe(&topics).map_err(|error| unavailable(&joining(), &error))?;
        Ok(client)
    }

    /// Is a member until the feed is closed, or until something panics: then the feed is closed, and whoever reads it joins anew.
    fn guarded(self, client: Client) {
        let (feed, board, group) = (Arc::clone(&self.feed), Arc::clone(&self.board), self.group.clone());
        if std::panic::catch_unwind(AssertUnwindSafe(|| self.run(client))).is_err() {
            tracing::error!(group, "the thread of a member of the group has panicked; the group is joined anew");
            board.forget(&group);
            feed.has_left();
        }
    }

    /// Is a member until the feed is closed, with another client when one has failed for good.
    fn run(self, client: Client) {
        let mut client = Ok(client);
        let mut wait = REJOIN;
        loop {
            let started = now();
            let end = match client {
                Ok(client) => Session::new(&self, client).run(),
                Err(error) => End::Failed(error),
            };
            let End::Failed(error) = end else { break };
            tracing::debug!(group = self.group, %error, "the consumer has failed for good; joining again");
            self.board.troubles.raise(&self.group, GROUP_REFUSED, &self.group, format!("{error}; it is joined again"));
            self.feed.problem(error);
            wait = if started.elapsed() > REJOIN_AT_MOST { REJOIN } else { (wait * 2).min(REJOIN_AT_MOST) };
            let deadline = now() + wait;
            while now() < deadline && !self.feed.is_closed() {
                self.feed.bell.wait(TICK);
            }
            if self.feed.is_closed() {
                break;
            }
            client = self.client();
        }
        self.board.forget(&self.group);
        self.feed.has_left();
    }
}

/// The life of one client.
struct Session<'a> {
    plan: &'a Plan,
    client: Client,
    held: AllHeld,
    commits: Commits,
    leaving: Option<Leaving>,
    /// Starts that wait for `leaving`, or for another attempt at this time.
    later: Vec<Start>,
    later_at: Option<Instant>,
    watch: Watch,
    probe: Probe,
}

impl<'a> Session<'a> {
    fn new(plan: &'a Plan, client: Client) -> Self {
        Self {
            plan,
            client,
            held: AllHeld::default(),
            commits: Commits::default(),
            leaving: None,
            later: Vec::new(),
            later_at: None,
            watch: Watch::new(now()),
            probe: Probe::default(),
        }
    }

    fn run(mut self) -> End {
        let mut more = false;
        let mut close_by = None;
        loop {
            if !more {
                self.plan.feed.bell.wait(TICK);
            }
            let orders = self.plan.feed.orders();
            if orders.close && close_by.is_none() {
                close_by = Some(now() + LAST_COMMITS);
            }
            self.obey(orders);
            self.commit();
            let failed;
            (more, failed) = self.poll();
            if let Some(error) = failed {
                self.give_up(true);
                return End::Failed(error);
            }
            self.tend();
            if close_by.is_some_and(|deadline| self.commits.is_idle() || now() >= deadline) {
                self.give_up(false);
                return End::Closed;
            }
        }
    }

    fn obey(&mut self, orders: Orders) {
        for released in orders.released {
            self.released(&released);
        }
        for answer in orders.answers {
            self.answered(answer);
        }
        if !orders.start.is_empty() {
            self.ordered(orders.start);
        }
        if !orders.room.is_empty() {
            self.resume(&orders.room);
        }
        let now = now();
        for commit in orders.commits {
            let held = &mut self.held;
            let own = |(partition, generation, offset): (TopicPartition, u64, i64)| {
                (held.of(&partition)?.generation == generation).then_some((partition, offset))
            };
            self.commits.wanted(commit.offsets.into_iter().filter_map(own).collect(), commit.done, now);
        }
    }

    fn commit(&mut self) {
        let Some(offsets) = self.commits.next(now()) else { return };
        let list = list(offsets.iter().map(|(partition, offset)| (partition, Offset::Offset(*offset))));
        if let Err(code) = native::commit(&self.client, &list) {
            tracing::warn!(group = self.plan.group, %code, "offsets could not be committed; trying again");
            self.commits.failed(code, now());
        }
    }

    /// Takes what the client has, up to a bound. Says whether it may have more, and whether it has failed for good.
    fn poll(&mut self) -> (bool, Option<TransportError>) {
        let mut batches: Vec<Batch> = Vec::new();
        let mut errors = Vec::new();
        let (mut taken, mut bytes, mut more) = (0, 0, true);
        let now = now();
        while taken < TURN && bytes < TURN_BYTES && errors.is_empty() && !self.client.context().has_events() {
            let calls = self.client.context().calls();
            match self.client.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    taken += 1;
                    let Some(held) = self.held.find(message.topic(), message.partition()) else { continue };
                    // What was fetched before a start is not what was asked for.
                    if held.stage != Stage::Reading || held.next.is_some_and(|next| message.offset() < next) {
                        continue;
                    }
                    held.next = Some(message.offset() + 1);
                    held.moved = now;
                    held.nudged_at = None;
                    let received = copied(&message);
                    bytes += received.record.size();
                    match batches.iter_mut().rev().find(|batch| batch.partition == held.partition) {
                        Some(batch) => batch.records.push(received),
                        None => {
                            batches.push(Batch { partition: held.partition.clone(), run: held.run, records: vec![received] });
                        }
                    }
                }
                Some(Err(error)) => errors.push(error),
                None if calls == self.client.context().calls() => {
                    more = false;
                    break;
                }
                None => {}
            }
        }
        if !batches.is_empty() {
            let full = self.plan.feed.take_in(batches);
            self.pause(&full);
        }
        let failed = errors.into_iter().find_map(|error| self.erred(&error));
        for event in self.client.context().events() {
            match event {
                Event::Assigned(partitions) => {
                    self.plan.board.troubles.clear(&self.plan.group, GROUP_REFUSED, &self.plan.group);
                    self.assigned(partitions);
                }
                Event::Revoked { partitions, lost } => self.revoked(partitions, lost),
                Event::Committed(result, offsets) => self.commits.reported(result, offsets, now),
            }
        }
        (more, failed)
    }

    /// Looks after what has waited long enough.
    fn tend(&mut self) {
        let now = now();
        self.commits.expire(now);
        self.tend_leaving(now);
        self.tend_starts(now);
        self.tend_watch(now);
        self.tend_probe(now);
    }

    /// Stops fetching partitions of which enough waits.
    fn pause(&mut self, full: &[TopicPartition]) {
        let mut pausing = Vec::new();
        for partition in full {
            if let Some(held) = self.held.of(partition).filter(|held| held.assigned && !held.paused) {
                held.paused = true;
                pausing.push(partition.clone());
            }
        }
        self.say("pausing partitions", &pausing, Client::pause);
    }

    /// Fetches partitions again.
    fn resume(&mut self, room: &[(TopicPartition, u64)]) {
        let now = now();
        let mut resuming = Vec::new();
        for (partition, run) in room {
            if let Some(held) = self.held.of(partition).filter(|held| held.paused && held.run == *run) {
                held.paused = false;
                held.moved = now;
                resuming.push(partition.clone());
            }
        }
        self.say("resuming partitions", &resuming, Client::resume);
    }

    /// Tells the client to do something with partitions, unless there are none.
    fn say(
        &self,
        what: &str,
        partitions: &[TopicPartition],
        verb: impl FnOnce(&Client, &TopicPartitionList) -> Result<(), KafkaError>,
    ) {
        if !partitions.is_empty()
            && let Err(error) = verb(&self.client, &list(partitions.iter().map(|partition| (partition, Offset::Invalid))))
        {
            tracing::warn!(group = self.plan.group, ?partitions, %error, "{what}");
        }
    }

    /// Leaves the group. With `lost`, the reader is told that what he had is not his any more. Who waits for a commit otherwise is
    /// told that it is closed.
    fn give_up(mut self, lost: bool) {
        let held: Vec<_> = self.held.iter().map(|held| held.partition.clone()).collect();
        if self.leaving.take().is_some() {
            // The client waits for this before it does anything else.
            self.unassign(&held);
        }
        if lost && !held.is_empty() {
            self.commits.gone(&held);
            self.plan.feed.lost(held);
        }
        let Self { client, commits, .. } = self;
        drop(commits);
        client.context().closing();
        // It says goodbye to the cluster, for as long as that takes.
        drop(client);
    }
}

fn list<'a>(partitions: impl IntoIterator<Item = (&'a TopicPartition, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (TopicPartition { topic, partition }, offset) in partitions {
        // It only fails for offsets that cannot be written as a number.
        let _ = list.add_partition_offset(topic, *partition, offset);
    }
    list
}
