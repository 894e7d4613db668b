//! Topics and partitions in memory: the offset range of a partition, its newest records, the committed offsets of the groups, and the
//! readers that wait for records.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::{lock, partitioner::partition_of};
use crate::{
    message::{Received, Record},
    transport::TopicPartition,
};

/// The approximate memory cost of a record, in addition to its own bytes.
const RECORD_OVERHEAD: usize = 256;

/// The limits of one delivery. A first record that exceeds them is delivered alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { records: 500, bytes: 1 << 20 }
    }
}

/// The existing topics, by name.
#[derive(Default)]
pub(crate) struct Catalog(RwLock<HashMap<Arc<str>, Arc<Topic>>>);

impl Catalog {
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Adds a topic. A topic that exists already is kept.
    pub(crate) fn enter(&self, topic: Topic) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(Arc::clone(&topic.name)).or_insert_with(|| Arc::new(topic));
    }

    /// Adds a topic, or replaces the topic with its name.
    pub(crate) fn replace(&self, topic: Topic) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&topic.name), Arc::new(topic));
    }

    /// Returns all topics.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the embedded log needs it"))]
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// A topic and its partitions.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    /// Differs between a topic and a later one with the same name.
    pub(crate) identity: Arc<str>,
    pub(crate) partitions: Vec<Arc<Partition>>,
    turn: AtomicUsize,
}

impl Topic {
    pub(crate) fn new(name: &str, identity: Arc<str>, partitions: Vec<Arc<Partition>>) -> Self {
        Self { name: name.into(), identity, partitions, turn: AtomicUsize::new(0) }
    }

    /// Returns the partition for records with this key. Records without a key are distributed in turn.
    pub(crate) fn route(&self, key: Option<&[u8]>) -> &Arc<Partition> {
        let count = self.partitions.len();
        &self.partitions[match key {
            Some(key) => partition_of(key, count),
            None => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        }]
    }
}

/// One partition.
pub(crate) struct Partition {
    pub(crate) id: TopicPartition,
    /// The number of the partition in the store.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the embedded log needs it"))]
    pub(crate) row: i64,
    log: Mutex<Log>,
}

struct Log {
    /// The oldest offset that is kept.
    start: i64,
    /// The offset of the next record.
    end: i64,
    /// The newest offsets, up to `end` without a gap, with their records. The end of a transaction has no record.
    tail: VecDeque<Option<Received>>,
    tail_bytes: usize,
    tail_limit: usize,
    /// The first offset of the oldest open transaction.
    open: Option<i64>,
    committed: HashMap<Arc<str>, i64>,
    readers: Vec<(u64, Arc<Notify>)>,
}

/// The result of reading a partition from memory.
pub(crate) enum Tail {
    /// There is nothing to read yet.
    Nothing,
    /// Records, at least one.
    Records(Vec<Received>),
    /// There is no record before this offset.
    Passed(i64),
    /// The records are only in the store.
    Stored,
    /// The requested offset is outside the log, which has the offsets from the first value up to the second.
    Gone(i64, i64),
}

impl Partition {
    /// Creates a partition that has records `start..end`, none of them in memory. It will keep up to `tail_limit` bytes of the newest
    /// records in memory.
    pub(crate) fn new(id: TopicPartition, row: i64, start: i64, end: i64, tail_limit: usize) -> Arc<Self> {
        let log = Log {
            start,
            end,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_limit,
            open: None,
            committed: HashMap::new(),
            readers: Vec::new(),
        };
        Arc::new(Self { id, row, log: Mutex::new(log) })
    }

    /// Returns the range of offsets that the partition has, from the first value up to the second.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        let log = lock(&self.log);
        (log.start, log.end)
    }

    /// Returns the end of the records that can be read.
    pub(crate) fn readable(&self) -> i64 {
        lock(&self.log).readable()
    }

    /// Begins a transaction: records added from here on cannot be read before it ends.
    pub(crate) fn open(&self) {
        let mut log = lock(&self.log);
        let end = log.end;
        log.open.get_or_insert(end);
    }

    /// Ends the open transaction, if there is one. This adds an offset without a record.
    pub(crate) fn mark(&self) {
        let mut log = lock(&self.log);
        log.open = None;
        log.tail.push_back(None);
        log.end += 1;
        log.wake();
    }

    /// Removes everything, as for a partition of a recreated topic.
    pub(crate) fn clear(&self) {
        let mut log = lock(&self.log);
        (log.start, log.end, log.tail_bytes, log.open) = (0, 0, 0, None);
        log.tail.clear();
        log.committed.clear();
        log.wake();
    }

    /// Appends records, wakes the readers, and returns the offset of the first record.
    pub(crate) fn push(&self, records: impl IntoIterator<Item = Arc<Record>>) -> i64 {
        let mut log = lock(&self.log);
        let first = log.end;
        for record in records {
            log.tail_bytes = log.tail_bytes.saturating_add(cost(&record));
            let offset = log.end;
            log.tail.push_back(Some(Received { record, partition: self.id.partition, offset }));
            log.end += 1;
        }
        while log.tail_bytes > log.tail_limit && log.drop_oldest() {}
        log.wake();
        first
    }

    /// Returns the records from `from` on, within `limits` but at least one.
    pub(crate) fn tail(&self, from: i64, limits: Limits) -> Tail {
        let log = lock(&self.log);
        if from < log.start || from > log.end {
            return Tail::Gone(log.start, log.end);
        }
        let (oldest, end) = (log.oldest_in_memory(), log.readable());
        if from >= end {
            return Tail::Nothing;
        }
        if from < oldest {
            return Tail::Stored;
        }
        let mut bytes = 0_usize;
        let mut records = Vec::with_capacity(limits.records.min((end - from) as usize));
        for received in log.tail.range((from - oldest) as usize..(end - oldest) as usize).take(limits.records.max(1)).flatten() {
            bytes = bytes.saturating_add(received.record.size());
            if bytes > limits.bytes && !records.is_empty() {
                break;
            }
            records.push(received.clone());
        }
        match records.is_empty() {
            true => Tail::Passed(end.min(from + limits.records.max(1) as i64)),
            false => Tail::Records(records),
        }
    }

    /// Sets the end to the one in the store, after a failed write of which it is unknown whether it was stored.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the embedded log needs it"))]
    pub(crate) fn reset_end(&self, end: i64) {
        let mut log = lock(&self.log);
        if log.end != end {
            log.end = end;
            log.tail.clear();
            log.tail_bytes = 0;
            log.wake();
        }
    }

    /// Removes the records before `start`.
    pub(crate) fn drop_before(&self, start: i64) {
        let mut log = lock(&self.log);
        log.start = log.start.max(start);
        while log.oldest_in_memory() < start && log.drop_oldest() {}
    }

    /// Returns the offset where `group` continues: the committed offset, or the oldest record if nothing is committed.
    pub(crate) fn committed(&self, group: &str) -> i64 {
        let log = lock(&self.log);
        log.committed.get(group).map_or(log.start, |offset| (*offset).max(log.start))
    }

    /// Registers `group` as a reader of this partition. A new group starts at the oldest record.
    pub(crate) fn register(&self, group: &Arc<str>) {
        let mut log = lock(&self.log);
        let start = log.start;
        log.committed.entry(Arc::clone(group)).or_insert(start);
    }

    /// Whether `group` is registered.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the embedded log needs it"))]
    pub(crate) fn is_registered(&self, group: &str) -> bool {
        lock(&self.log).committed.contains_key(group)
    }

    /// Records that `group` has handled all records before `offset`. The committed offset never decreases and never exceeds the end.
    pub(crate) fn commit(&self, group: &Arc<str>, offset: i64) {
        let mut log = lock(&self.log);
        let offset = offset.clamp(log.start, log.end);
        let committed = log.committed.entry(Arc::clone(group)).or_insert(offset);
        *committed = offset.max(*committed);
    }

    /// Removes a group that will not come back.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the embedded log needs it"))]
    pub(crate) fn forget(&self, group: &str) {
        lock(&self.log).committed.remove(group);
    }

    /// Returns the offset up to which every registered group has read everything.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the embedded log needs it"))]
    pub(crate) fn unread(&self) -> i64 {
        let log = lock(&self.log);
        log.committed.values().copied().min().unwrap_or(log.end)
    }

    /// Wakes `reader` when there are more records.
    pub(crate) fn listen(&self, member: u64, reader: &Arc<Notify>) {
        lock(&self.log).readers.push((member, Arc::clone(reader)));
    }

    /// Stops waking the reader of `member`.
    pub(crate) fn unlisten(&self, member: u64) {
        lock(&self.log).readers.retain(|(reader, _)| *reader != member);
    }
}

impl Log {
    fn readable(&self) -> i64 {
        self.open.unwrap_or(self.end)
    }

    /// Returns the oldest offset in memory; `end` if there is none.
    fn oldest_in_memory(&self) -> i64 {
        self.end - self.tail.len() as i64
    }

    /// Removes the oldest offset from memory. Returns whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let oldest = self.tail.pop_front();
        if let Some(Some(received)) = &oldest {
            self.tail_bytes -= cost(&received.record);
        }
        oldest.is_some()
    }

    fn wake(&self) {
        for (_, reader) in &self.readers {
            reader.notify_one();
        }
    }
}

fn cost(record: &Record) -> usize {
    record.size() + RECORD_OVERHEAD
}
