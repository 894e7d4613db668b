//! The connection between the poll thread and the runtime: news and records in one direction, commands in the other.
//!
//! Each assignment of a partition has a *generation*, and each start within it a *run*. Late commands and records carry an old
//! generation or run, and are ignored.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use saga_core::{
    message::{Received, TopicPartition},
    transport::{Delivery, TransportError},
};
use tokio::sync::{Notify, watch};

use super::{
    commands::{Commands, Commit, Released, Start},
    waker::Waker,
};
use crate::unassigned::Rejoin;

/// How many records and bytes of a partition are buffered before it is paused. It resumes at half of these limits.
const RECORDS: usize = 4_000;
const BYTES: usize = 2 << 20;

/// The largest number of records in one delivery.
const DELIVERY: usize = 500;

/// Shared by the thread of a member and its subscription.
pub(crate) struct Feed {
    pub(super) bell: Waker,
    state: Mutex<State>,
    /// Notified when this feed, or another one of the same reader, has something for the reader.
    ready: Arc<Notify>,
    left: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    news: VecDeque<News>,
    problem: Option<TransportError>,
    partitions: HashMap<TopicPartition, Partition>,
    /// Partitions with records, in the order of their turns. Can contain partitions that have no records any more.
    turns: VecDeque<TopicPartition>,
    generations: u64,
    orders: Commands,
    closed: bool,
}

/// What is delivered before any records.
enum News {
    Assigned(Vec<(TopicPartition, u64)>),
    Revoked(Vec<TopicPartition>),
    Lost(Vec<TopicPartition>),
    Gap { partition: TopicPartition, run: u64, wanted: i64, oldest: i64, end: i64 },
}

/// A partition that is assigned to this member.
struct Partition {
    generation: u64,
    run: u64,
    records: VecDeque<Received>,
    bytes: usize,
    /// All offsets after `records` and before this one are passed, and the reader does not know it yet.
    passed: Option<i64>,
    /// The reader knows that the partition is assigned.
    told: bool,
    revoked: bool,
    /// The reader has paused the partition.
    paused: bool,
    /// The buffer is full, so fetching is paused.
    full: bool,
}

/// Records of one partition and run, in order.
pub(super) struct Batch {
    pub(super) partition: TopicPartition,
    pub(super) run: u64,
    pub(super) records: Vec<Received>,
}

impl Feed {
    pub(super) fn new(ready: Arc<Notify>) -> Self {
        Self { bell: Waker::default(), state: Mutex::default(), ready, left: watch::Sender::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what is buffered, and makes the thread leave the group.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.orders.close = true;
        state.news.clear();
        state.turns.clear();
        drop(state);
        self.ready.notify_one();
        self.bell.ring();
    }

    /// Commands the member to leave the group and join it again, if it is the member of `rejoin`.
    pub(crate) fn rejoin(&self, rejoin: Rejoin) {
        self.state().orders.rejoin = Some(rejoin);
        self.bell.ring();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits until the thread has left the group.
    pub(crate) async fn left(&self) {
        // Fails only if the sender is dropped, and `self` owns the sender.
        let _ = self.left.subscribe().wait_for(|left| *left).await;
    }
}

/// The side of the thread.
impl Feed {
    pub(super) fn has_left(&self) {
        self.close();
        self.left.send_replace(true);
    }

    pub(super) fn commands(&self) -> Commands {
        let mut state = self.state();
        let close = state.orders.close;
        std::mem::replace(&mut state.orders, Commands { close, ..Commands::default() })
    }

    /// Records that partitions are assigned to this member, and returns the generation of each.
    pub(super) fn assigned(&self, partitions: &[TopicPartition]) -> Vec<u64> {
        let mut state = self.state();
        let mut news = Vec::with_capacity(partitions.len());
        for partition in partitions {
            state.generations += 1;
            let generation = state.generations;
            state.partitions.insert(partition.clone(), Partition::new(generation));
            news.push((partition.clone(), generation));
        }
        let generations = news.iter().map(|(_, generation)| *generation).collect();
        self.tell(state, News::Assigned(news));
        generations
    }

    pub(super) fn revoked(&self, partitions: Vec<TopicPartition>) {
        let mut state = self.state();
        for partition in &partitions {
            if let Some(known) = state.partitions.get_mut(partition) {
                known.clear();
                known.revoked = true;
            }
        }
        self.tell(state, News::Revoked(partitions));
    }

    pub(super) fn lost(&self, partitions: Vec<TopicPartition>) {
        let mut state = self.state();
        for partition in &partitions {
            state.partitions.remove(partition);
        }
        self.tell(state, News::Lost(partitions));
    }

    /// Reports all partitions as lost, even those that the reader does not know yet.
    pub(super) fn lost_all(&self) {
        let mut state = self.state();
        let all: Vec<_> = state.partitions.drain().map(|(partition, _)| partition).collect();
        if !all.is_empty() {
            self.tell(state, News::Lost(all));
        }
    }

    /// Removes partitions that were given up; the reader knows it already or does not need to.
    pub(super) fn gone<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        let mut state = self.state();
        for partition in partitions {
            state.partitions.remove(partition);
        }
    }

    pub(super) fn gap(&self, partition: TopicPartition, run: u64, wanted: i64, oldest: i64, end: i64) {
        let state = self.state();
        self.tell(state, News::Gap { partition, run, wanted, oldest, end });
    }

    /// Records a problem with reading the log. It is delivered once, unless a later problem replaces it before.
    pub(super) fn problem(&self, problem: TransportError) {
        self.state().problem = Some(problem);
        self.ready.notify_one();
    }

    fn tell(&self, mut state: MutexGuard<'_, State>, news: News) {
        if !state.closed {
            state.news.push_back(news);
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Buffers records, and returns the partitions with full buffers.
    pub(super) fn take_in(&self, batches: impl IntoIterator<Item = Batch>) -> Vec<TopicPartition> {
        let mut full = Vec::new();
        let mut state = self.state();
        let State { partitions, turns, problem, .. } = &mut *state;
        for batch in batches {
            let Some(known) = partitions.get_mut(&batch.partition) else { continue };
            if known.run != batch.run || known.revoked {
                continue;
            }
            // Records arrive, so the problem is over.
            *problem = None;
            if !known.waits() && !known.paused {
                turns.push_back(batch.partition.clone());
            }
            known.bytes += batch.records.iter().map(|received| received.record.size()).sum::<usize>();
            // These records are beyond the passed offset, so it need not be delivered.
            known.passed = None;
            known.records.extend(batch.records);
            if !known.full && (known.records.len() >= RECORDS || known.bytes >= BYTES) {
                known.full = true;
                full.push(batch.partition);
            }
        }
        drop(state);
        self.ready.notify_one();
        full
    }

    /// Records that the client has passed offsets without a record: the next record of the partition is at `next` or later.
    pub(super) fn passed(&self, partition: &TopicPartition, run: u64, next: i64) {
        let mut state = self.state();
        let State { partitions, turns, .. } = &mut *state;
        let Some(known) = partitions.get_mut(partition).filter(|known| known.run == run && !known.revoked) else { return };
        if !known.waits() && !known.paused {
            turns.push_back(partition.clone());
        }
        known.passed = Some(next);
        drop(state);
        self.ready.notify_one();
    }

    pub(super) fn answer(&self, answer: super::commands::Answer) {
        self.state().orders.answers.push(answer);
        self.bell.ring();
    }
}

/// The side of the reader.
impl Feed {
    /// Takes what comes next, if there is anything.
    pub(super) fn take(&self) -> Option<Result<Delivery, TransportError>> {
        let mut state = self.state();
        if state.closed {
            return Some(Err(TransportError::Closed));
        }
        while let Some(news) = state.news.pop_front() {
            if let Some(delivery) = state.deliver(news) {
                return Some(Ok(delivery));
            }
        }
        if let Some(delivery) = state.records() {
            let room = !state.orders.room.is_empty();
            drop(state);
            if room {
                self.bell.ring();
            }
            return Some(Ok(delivery));
        }
        state.problem.take().map(Err)
    }

    pub(super) fn start(&self, from: &[(TopicPartition, Option<i64>)]) {
        let mut state = self.state();
        let State { partitions, orders, .. } = &mut *state;
        for (partition, from) in from {
            let Some(known) = partitions.get_mut(partition).filter(|known| known.told && !known.revoked) else { continue };
            known.clear();
            known.run += 1;
            orders.start.insert(partition.clone(), Start { generation: known.generation, run: known.run, from: *from });
        }
        drop(state);
        self.bell.ring();
    }

    pub(super) fn pause(&self, paused: &[TopicPartition]) {
        let mut state = self.state();
        for partition in paused {
            if let Some(known) = state.partitions.get_mut(partition) {
                known.paused = true;
            }
        }
        state.turns.retain(|turn| !paused.contains(turn));
    }

    pub(super) fn resume(&self, partitions: &[TopicPartition]) {
        let mut state = self.state();
        let State { partitions: known, turns, .. } = &mut *state;
        for partition in partitions {
            if let Some(known) = known.get_mut(partition).filter(|known| known.paused) {
                known.paused = false;
                if known.waits() {
                    turns.push_back(partition.clone());
                }
            }
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Commands a commit of those partitions that the reader has, unless the feed is closed.
    pub(super) fn commit(
        &self,
        offsets: Vec<(TopicPartition, i64)>,
        done: tokio::sync::oneshot::Sender<Result<(), TransportError>>,
    ) {
        let mut state = self.state();
        if state.closed {
            let _ = done.send(Err(TransportError::Closed));
            return;
        }
        let State { partitions, orders, .. } = &mut *state;
        let own = |(partition, offset): (TopicPartition, i64)| {
            let generation = partitions.get(&partition).filter(|known| known.told)?.generation;
            Some((partition, generation, offset))
        };
        orders.commits.push(Commit { offsets: offsets.into_iter().filter_map(own).collect(), done });
        drop(state);
        self.bell.ring();
    }

    pub(super) fn made_anew(&self, partitions: &[TopicPartition]) {
        self.state().orders.made_anew.extend_from_slice(partitions);
    }

    pub(super) fn release(&self, partitions: &[TopicPartition]) {
        let mut state = self.state();
        let State { partitions: known, orders, .. } = &mut *state;
        for partition in partitions {
            if let Some(known) = known.get(partition).filter(|known| known.told && known.revoked) {
                orders.released.push(Released { partition: partition.clone(), generation: known.generation });
            }
        }
        drop(state);
        self.bell.ring();
    }
}

impl State {
    /// Converts news to a delivery, and marks assigned partitions as known to the reader. Outdated gaps are dropped.
    fn deliver(&mut self, news: News) -> Option<Delivery> {
        Some(match news {
            News::Assigned(assigned) => {
                for (partition, generation) in &assigned {
                    if let Some(known) = self.partitions.get_mut(partition).filter(|known| known.generation == *generation) {
                        known.told = true;
                    }
                }
                Delivery::Assigned(assigned.into_iter().map(|(partition, _)| partition).collect())
            }
            News::Revoked(partitions) => Delivery::Revoked(partitions),
            News::Lost(partitions) => Delivery::Lost(partitions),
            News::Gap { partition, run, wanted, oldest, end } => {
                let known = self.partitions.get(&partition)?;
                (known.run == run && !known.revoked).then_some(Delivery::Gap { partition, wanted, oldest, end })?
            }
        })
    }

    /// Takes records of the next partition in turn.
    fn records(&mut self) -> Option<Delivery> {
        while let Some(partition) = self.turns.pop_front() {
            let Some(known) = self.partitions.get_mut(&partition).filter(|known| !known.paused) else { continue };
            let records: Vec<_> = known.records.drain(..known.records.len().min(DELIVERY)).collect();
            if records.is_empty() {
                match known.passed.take() {
                    Some(next) => return Some(Delivery::Passed { partition, next }),
                    None => continue,
                }
            }
            known.bytes -= records.iter().map(|received| received.record.size()).sum::<usize>();
            if known.waits() {
                self.turns.push_back(partition.clone());
            }
            if known.full && known.records.len() <= RECORDS / 2 && known.bytes <= BYTES / 2 {
                known.full = false;
                self.orders.room.push((partition.clone(), known.run));
            }
            return Some(Delivery::Records { partition, records });
        }
        None
    }
}

impl Partition {
    fn new(generation: u64) -> Self {
        Self {
            generation,
            run: 0,
            records: VecDeque::new(),
            bytes: 0,
            passed: None,
            told: false,
            revoked: false,
            paused: false,
            full: false,
        }
    }

    /// Whether something waits for the reader.
    fn waits(&self) -> bool {
        !self.records.is_empty() || self.passed.is_some()
    }

    /// Drops everything buffered. The partition is then fetched again, and is not paused.
    fn clear(&mut self) {
        self.records.clear();
        (self.bytes, self.passed) = (0, None);
        self.full = false;
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
