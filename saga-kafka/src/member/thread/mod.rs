//! The thread that owns the client of a member.
//!
//! In a loop, it waits for the [`Waker`](super::waker::Waker), applies the commands, takes what the client has, and checks the
//! timeouts. It waits for nothing else, so the client is polled at least every tenth of a second, however long the runtime, the
//! database or the cluster takes.

mod errors;
mod joining;
mod passed;
mod probe;
mod rebalance;
mod starts;
mod watch;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use saga_core::{message::TopicPartition, time::doubling, transport::TransportError};

use self::{joining::Joining, probe::Probe, rebalance::Leaving, starts::Start, watch::Watch};
use super::{
    commands::Commands,
    commits::Commits,
    context::{Context, Event},
    feed::{Batch, Feed},
    held::{AllHeld, Stage},
    native,
    record::copied,
};
use crate::{
    KafkaConfig, config::SESSION_TIMEOUT, error::unavailable, group_topic::GroupTopic, net::caught, observer::Observer, settings,
    statistics::StatsRegistry, time::now, troubles::GROUP_REFUSED, unassigned::Rejoin,
};

/// The longest wait of the thread.
const TICK: Duration = Duration::from_millis(100);

/// How many records and bytes are taken from the client in one turn.
const TURN: usize = 1_000;
const TURN_BYTES: usize = 4 << 20;

/// How long pending commits are awaited when the member leaves.
const LAST_COMMITS: Duration = Duration::from_secs(2);

/// The wait before the group is joined again after a permanent failure of the client; it doubles each time.
const REJOIN: Duration = Duration::from_millis(500);
const REJOIN_AT_MOST: Duration = Duration::from_secs(30);

type Client = BaseConsumer<Context>;

/// What a member is created from.
pub(super) struct Plan {
    pub(super) config: KafkaConfig,
    /// The group and the topic that the member reads. One topic, because Kafka's assignors balance the number of partitions of
    /// each member, and not their load: of two members with two topics, one could get all partitions of one topic, and the other
    /// all of the other.
    pub(super) member: GroupTopic,
    /// The number of members of the group in this process.
    pub(super) siblings: usize,
    pub(super) feed: Arc<Feed>,
    pub(super) observer: Arc<Observer>,
    pub(super) board: Arc<StatsRegistry>,
}

/// Why a client is dropped.
enum End {
    Closed,
    Failed(TransportError),
    /// The member leaves the group and joins it again, so that the group assigns partitions that have no member.
    Rejoin(Rejoin),
}

/// Starts the thread, which ends when the feed is closed.
pub(super) fn spawn(plan: Plan) -> Result<(), TransportError> {
    let client = plan.client()?;
    let thread = std::thread::Builder::new().name("saga-kafka-polls".into());
    thread
        .spawn(move || plan.run(client))
        .map(drop)
        .map_err(|error| TransportError::Unavailable(format!("no thread for a member of a group: {error}")))
}

impl Plan {
    fn client(&self) -> Result<Client, TransportError> {
        let GroupTopic { group, topic } = &self.member;
        let context = Context::new(self.member.clone(), Arc::clone(&self.board));
        let mut client: Client = settings::member(&self.config, &self.member, self.siblings)
            .create_with_context(context)
            .map_err(|error| self.config.explain(&error))?;
        let feed = Arc::clone(&self.feed);
        client.set_nonempty_callback(move || feed.bell.ring());
        client
            .subscribe(&[topic])
            .map_err(|error| unavailable(&format!("joining the group `{group}` to read `{topic}`"), &error))?;
        Ok(client)
    }

    /// Runs the member until the feed is closed. A client is replaced when it has failed permanently or its session has panicked.
    fn run(self, client: Client) {
        let _left = Left(&self);
        let mut client = Ok(client);
        let mut failures = 0_u32;
        loop {
            let started = now();
            let end = match client {
                Ok(client) => caught(|| Session::new(&self, client).run()).unwrap_or_else(|panic| {
                    // The end of the session panicked, too, so the reader does not know yet.
                    self.feed.lost_all();
                    self.panicked(&panic)
                }),
                Err(error) => End::Failed(error),
            };
            let GroupTopic { group, topic } = &self.member;
            let pause = match end {
                End::Closed => break,
                End::Failed(error) => {
                    tracing::debug!(group, topic, %error, "the consumer has failed for good; joining again");
                    self.board.troubles.raise(&self.member, GROUP_REFUSED, group, format!("{error}; it is joined again"));
                    self.feed.problem(error);
                    failures = if started.elapsed() > REJOIN_AT_MOST { 0 } else { failures.saturating_add(1) };
                    doubling(REJOIN, REJOIN_AT_MOST, failures)
                }
                End::Rejoin(Rejoin { partitions, .. }) => {
                    tracing::warn!(
                        group,
                        topic,
                        ?partitions,
                        "no member of the group has these partitions; joining again, so that the group assigns them"
                    );
                    self.until_forgotten()
                }
            };
            let deadline = now() + pause;
            while now() < deadline && !self.feed.is_closed() {
                self.feed.bell.wait(TICK);
            }
            if self.feed.is_closed() {
                break;
            }
            client = self.client();
        }
    }

    /// How long the group remembers the member after it has left. A static member does not leave: it has left when its session has
    /// timed out.
    fn until_forgotten(&self) -> Duration {
        match self.config.group.instance_id {
            Some(_) => self.config.group.session_timeout.unwrap_or(SESSION_TIMEOUT).saturating_add(Duration::from_secs(1)),
            None => Duration::ZERO,
        }
    }

    fn panicked(&self, panic: &str) -> End {
        tracing::error!(
            group = self.member.group,
            topic = self.member.topic,
            panic,
            "the thread of a member panicked; the group is joined again"
        );
        End::Failed(TransportError::Unavailable(format!(
            "reading `{}` as a member of the group `{}` panicked: {panic}",
            self.member.topic, self.member.group
        )))
    }
}

/// Reports that the member has left, however its thread ends.
struct Left<'a>(&'a Plan);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.board.forget(&self.0.member);
        self.0.feed.has_left();
    }
}

/// The session of one client.
struct Session<'a> {
    plan: &'a Plan,
    client: Client,
    held: AllHeld,
    commits: Commits,
    leaving: Option<Leaving>,
    /// Starts that wait for the end of `leaving`, or for a retry at `later_at`.
    later: Vec<Start>,
    later_at: Option<Instant>,
    /// When the passed offsets are checked next.
    passed_at: Instant,
    watch: Watch,
    probe: Probe,
    joining: Joining,
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
            passed_at: now(),
            watch: Watch::new(now()),
            probe: Probe::default(),
            joining: Joining::new(&plan.config, now()),
        }
    }

    fn run(mut self) -> End {
        let end = caught(|| self.turn()).unwrap_or_else(|panic| {
            self.acknowledge();
            self.plan.panicked(&panic)
        });
        self.give_up(!matches!(end, End::Closed));
        end
    }

    /// Runs until the feed is closed or the client has failed permanently.
    fn turn(&mut self) -> End {
        let mut more = false;
        let mut close_by = None;
        loop {
            if !more {
                self.plan.feed.bell.wait(TICK);
            }
            let mut orders = self.plan.feed.commands();
            if orders.close && close_by.is_none() {
                close_by = Some(now() + LAST_COMMITS);
            }
            let rejoin = orders.rejoin.take_if(|rejoin| rejoin.member == native::member_id(&self.client));
            self.obey(orders);
            if let Some(rejoin) = rejoin {
                return End::Rejoin(rejoin);
            }
            self.commit();
            let failed;
            (more, failed) = self.poll();
            if let Some(error) = failed {
                return End::Failed(error);
            }
            if !more {
                self.tend_passed(now());
            }
            self.check_timeouts();
            if close_by.is_some_and(|deadline| self.commits.is_idle() || now() >= deadline) {
                return End::Closed;
            }
        }
    }

    fn obey(&mut self, orders: Commands) {
        self.commits.made_anew(&orders.made_anew);
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
            tracing::warn!(group = self.plan.member.group, %code, "offsets could not be committed; trying again");
            self.commits.failed(code, now());
        }
    }

    /// Takes what the client has, up to a limit. Returns whether there may be more, and the error if the client has failed
    /// permanently.
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
                    // This record was fetched before the last start.
                    if held.stage != Stage::Reading || held.next.is_some_and(|next| message.offset() < next) {
                        continue;
                    }
                    held.next = Some(message.offset() + 1);
                    held.moved = now;
                    (held.before, held.nudged_at) = (None, None);
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
        let failed = errors.into_iter().find_map(|error| self.on_error(&error));
        for event in self.client.context().events() {
            match event {
                Event::Assigned(partitions) => {
                    self.joined();
                    self.assigned(partitions);
                }
                Event::Revoked { partitions, lost } => {
                    if lost {
                        self.joining.lost(now);
                        self.plan.board.idle(&self.plan.member, false);
                    }
                    self.revoked(partitions, lost);
                }
                Event::Committed(result, offsets) => self.commits.reported(result, offsets, now),
            }
        }
        (more, failed)
    }

    /// Handles everything that is due.
    fn check_timeouts(&mut self) {
        let now = now();
        self.commits.expire(now);
        self.tend_leaving(now);
        self.tend_starts(now);
        self.tend_watch(now);
        self.tend_probe(now);
        self.tend_joining(now);
    }

    /// Pauses fetching of partitions with full buffers.
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

    /// Resumes fetching.
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

    /// Calls a function of the client with these partitions, unless there are none.
    fn say(
        &self,
        what: &str,
        partitions: &[TopicPartition],
        verb: impl FnOnce(&Client, &TopicPartitionList) -> Result<(), KafkaError>,
    ) {
        if !partitions.is_empty()
            && let Err(error) = verb(&self.client, &list(partitions.iter().map(|partition| (partition, Offset::Invalid))))
        {
            tracing::warn!(group = self.plan.member.group, ?partitions, %error, "{what}");
        }
    }

    /// After a panic, acknowledges the assignment or revocation that the client may wait for: how far its handling came is
    /// unknown.
    fn acknowledge(&mut self) {
        drop(self.client.context().events());
        if let Err(error) = self.client.incremental_assign(&TopicPartitionList::new()) {
            tracing::debug!(group = self.plan.member.group, %error, "acknowledging an assignment");
        }
        let held: Vec<_> = self.held.iter().map(|held| held.partition.clone()).collect();
        self.leaving = None;
        self.unassign(&held);
    }

    /// Leaves the group. With `lost`, the reader learns that all partitions are lost. Otherwise, pending commits end as closed.
    fn give_up(mut self, lost: bool) {
        let held: Vec<_> = self.held.iter().map(|held| held.partition.clone()).collect();
        if self.leaving.take().is_some() {
            // The client waits for this acknowledgement before it does anything else.
            self.unassign(&held);
        }
        if lost {
            self.commits.gone(&held);
            self.plan.feed.lost_all();
        }
        let Self { client, commits, .. } = self;
        drop(commits);
        client.context().closing();
        // Leaves the group, and blocks until this is done.
        drop(client);
    }
}

fn list<'a>(partitions: impl IntoIterator<Item = (&'a TopicPartition, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (TopicPartition { topic, partition }, offset) in partitions {
        // Fails only for offsets that cannot be represented as a number.
        let _ = list.add_partition_offset(topic, *partition, offset);
    }
    list
}

#[cfg(test)]
mod tests;
