//! What lies between the poll thread and the runtime: news and records one way, orders the other.
//!
//! Every assignment of a partition has a *generation* and every start in it a *run*. Orders and records that are late carry an old
//! one, and count for nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use saga_core::{
    message::{Received, TopicPartition},
    transport::{Delivery, TransportError},
};
use tokio::sync::{Notify, watch};

use super::{
    bell::Bell,
    orders::{Commit, Orders, Released, Start},
};

/// What is kept of a partition before its fetching is paused, in records and bytes. It goes on at half of that.
const RECORDS: usize = 4_000;
const BYTES: usize = 2 << 20;

/// How many records one delivery has at most.
const DELIVERY: usize = 500;

/// Shared by a member's thread and its subscription.
pub(crate) struct Feed {
    pub(super) bell: Bell,
    state: Mutex<State>,
    /// Something is there for the reader.
    ready: Notify,
    left: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    news: VecDeque<News>,
    problem: Option<TransportError>,
    partitions: HashMap<TopicPartition, Partition>,
    /// Partitions with records, in the order in which it is their turn. May name one that has none any more.
    turns: VecDeque<TopicPartition>,
    generations: u64,
    orders: Orders,
    closed: bool,
}

/// What is told before any record.
enum News {
    Assigned(Vec<(TopicPartition, u64)>),
    Revoked(Vec<TopicPartition>),
    Lost(Vec<TopicPartition>),
    Gap { partition: TopicPartition, run: u64, wanted: i64, oldest: i64, end: i64 },
}

/// A partition that is this member's.
struct Partition {
    generation: u64,
    run: u64,
    records: VecDeque<Received>,
    bytes: usize,
    /// Behind `records` all before this offset are passed, which the reader does not know yet.
    passed: Option<i64>,
    /// The reader knows that it is assigned.
    told: bool,
    revoked: bool,
    /// The reader does not want its records now.
    paused: bool,
    /// Its fetching is paused.
    full: bool,
}

/// Records of one partition, in order, of a run.
pub(super) struct Batch {
    pub(super) partition: TopicPartition,
    pub(super) run: u64,
    pub(super) records: Vec<Received>,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self { bell: Bell::default(), state: Mutex::default(), ready: Notify::new(), left: watch::Sender::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the reading: what waits is dropped, and the thread leaves the group.
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

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits until the thread has left the group.
    pub(crate) async fn left(&self) {
        // It only fails when the sender is gone, and that is here.
        let _ = self.left.subscribe().wait_for(|left| *left).await;
    }
}

/// The thread's side.
impl Feed {
    pub(super) fn has_left(&self) {
        self.close();
        self.left.send_replace(true);
    }

    pub(super) fn orders(&self) -> Orders {
        let mut state = self.state();
        let close = state.orders.close;
        std::mem::replace(&mut state.orders, Orders { close, ..Orders::default() })
    }

    /// Notes partitions as this member's, and says under which generation each is.
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

    /// Nothing is this member's any more, whatever the reader knows of it.
    pub(super) fn lost_all(&self) {
        let mut state = self.state();
        let all: Vec<_> = state.partitions.drain().map(|(partition, _)| partition).collect();
        if !all.is_empty() {
            self.tell(state, News::Lost(all));
        }
    }

    /// These partitions were given up, after the reader was told or without.
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

    /// Something keeps the log from being read; told once, unless something worse comes before.
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

    /// Takes records in, and says which partitions have enough now.
    pub(super) fn take_in(&self, batches: impl IntoIterator<Item = Batch>) -> Vec<TopicPartition> {
        let mut full = Vec::new();
        let mut state = self.state();
        let State { partitions, turns, problem, .. } = &mut *state;
        for batch in batches {
            let Some(known) = partitions.get_mut(&batch.partition) else { continue };
            if known.run != batch.run || known.revoked {
                continue;
            }
            // Whatever was wrong is over.
            *problem = None;
            if !known.waits() && !known.paused {
                turns.push_back(batch.partition.clone());
            }
            known.bytes += batch.records.iter().map(|received| received.record.size()).sum::<usize>();
            // What is beyond it says the same.
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

    /// The client has passed offsets that have no record: what follows what was taken in is at `next` at the earliest.
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

    pub(super) fn answer(&self, answer: super::orders::Answer) {
        self.state().orders.answers.push(answer);
        self.bell.ring();
    }
}

/// The reader's side.
impl Feed {
    /// Waits for what comes next. Whoever stops waiting has taken nothing.
    pub(super) async fn next(&self) -> Result<Delivery, TransportError> {
        loop {
            let ready = self.ready.notified();
            if let Some(next) = self.take() {
                return next;
            }
            ready.await;
        }
    }

    fn take(&self) -> Option<Result<Delivery, TransportError>> {
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

    /// Asks for a commit of those that are the reader's, unless it is closed.
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
    /// What the reader is told, and what follows from that he knows it.
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

    /// Records of the partition whose turn it is.
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

    /// Without what was under way. Its fetching is made anew, and not paused then.
    fn clear(&mut self) {
        self.records.clear();
        (self.bytes, self.passed) = (0, None);
        self.full = false;
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
