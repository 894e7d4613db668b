//! Topics and partitions as the process sees them: where each begins and ends, its newest records, how far every group has
//! committed, and who waits for more.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::{Limits, lock, partitioner::partition_of};
use crate::{
    message::{Received, Record},
    transport::TopicPartition,
};

/// What a record held in memory costs beyond its own bytes, roughly.
const RECORD_OVERHEAD: usize = 256;

/// The topics there are, by name.
#[derive(Default)]
pub(crate) struct Catalog(RwLock<HashMap<Arc<str>, Arc<Topic>>>);

impl Catalog {
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Enters a topic; one that is there already stays.
    pub(crate) fn enter(&self, topic: Topic) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(Arc::clone(&topic.name)).or_insert_with(|| Arc::new(topic));
    }

    /// Enters a topic in place of the one with its name.
    pub(crate) fn replace(&self, topic: Topic) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&topic.name), Arc::new(topic));
    }

    /// All topics.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the embedded log needs it"))]
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// A topic and its partitions.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) partitions: Vec<Arc<Partition>>,
    turn: AtomicUsize,
}

impl Topic {
    pub(crate) fn new(name: &str, partitions: Vec<Arc<Partition>>) -> Self {
        Self { name: name.into(), partitions, turn: AtomicUsize::new(0) }
    }

    /// The partition of the records with this key; without a key, each in turn.
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
    /// The store's own number for it.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the embedded log needs it"))]
    pub(crate) row: i64,
    log: Mutex<Log>,
}

struct Log {
    /// The oldest offset that is kept.
    start: i64,
    /// The offset of the next record.
    end: i64,
    /// The newest records, up to `end` without a gap.
    tail: VecDeque<Received>,
    tail_bytes: usize,
    tail_limit: usize,
    committed: HashMap<Arc<str>, i64>,
    readers: Vec<(u64, Arc<Notify>)>,
}

/// What a partition has for a reader.
pub(crate) enum Tail {
    /// Nothing yet.
    Nothing,
    /// These records.
    Records(Vec<Received>),
    /// Records that only the store has.
    Stored,
    /// Nothing is there, nor will be: these offsets are kept, from the first, up to the second.
    Gone(i64, i64),
}

impl Partition {
    /// A partition that keeps records `start..end`, none of them in memory, and in future the newest `tail_limit` bytes.
    pub(crate) fn new(id: TopicPartition, row: i64, start: i64, end: i64, tail_limit: usize) -> Arc<Self> {
        let log =
            Log { start, end, tail: VecDeque::new(), tail_bytes: 0, tail_limit, committed: HashMap::new(), readers: Vec::new() };
        Arc::new(Self { id, row, log: Mutex::new(log) })
    }

    /// The offsets that are kept: from the first, up to the second.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        let log = lock(&self.log);
        (log.start, log.end)
    }

    /// Adds records at the end, answers the offset of the first, and wakes the readers.
    pub(crate) fn push(&self, records: impl IntoIterator<Item = Arc<Record>>) -> i64 {
        let mut log = lock(&self.log);
        let first = log.end;
        for record in records {
            log.tail_bytes = log.tail_bytes.saturating_add(cost(&record));
            let offset = log.end;
            log.tail.push_back(Received { record, partition: self.id.partition, offset });
            log.end += 1;
        }
        while log.tail_bytes > log.tail_limit
            && let Some(oldest) = log.tail.pop_front()
        {
            log.tail_bytes -= cost(&oldest.record);
        }
        log.wake();
        first
    }

    /// The records from `from` on, within `limits` but at least one.
    pub(crate) fn tail(&self, from: i64, limits: Limits) -> Tail {
        let log = lock(&self.log);
        if from < log.start || from > log.end {
            return Tail::Gone(log.start, log.end);
        }
        if from == log.end {
            return Tail::Nothing;
        }
        let oldest = log.end - log.tail.len() as i64;
        if from < oldest {
            return Tail::Stored;
        }
        let mut bytes = 0_usize;
        let mut records = Vec::with_capacity(limits.records.min((log.end - from) as usize));
        for received in log.tail.range((from - oldest) as usize..).take(limits.records.max(1)) {
            bytes = bytes.saturating_add(received.record.size());
            if bytes > limits.bytes && !records.is_empty() {
                break;
            }
            records.push(received.clone());
        }
        Tail::Records(records)
    }

    /// Takes over what the store says after a failure that left open whether it had stored something.
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

    /// Forgets the records before `start`.
    pub(crate) fn drop_before(&self, start: i64) {
        let mut log = lock(&self.log);
        log.start = log.start.max(start);
        while log.tail.front().is_some_and(|oldest| oldest.offset < start)
            && let Some(oldest) = log.tail.pop_front()
        {
            log.tail_bytes -= cost(&oldest.record);
        }
    }

    /// Where `group` goes on reading: what it has committed, or the oldest record.
    pub(crate) fn committed(&self, group: &str) -> i64 {
        let log = lock(&self.log);
        log.committed.get(group).map_or(log.start, |offset| (*offset).max(log.start))
    }

    /// Notes that `group` reads this partition, from the oldest record if it never did.
    pub(crate) fn register(&self, group: &Arc<str>) {
        let mut log = lock(&self.log);
        let start = log.start;
        log.committed.entry(Arc::clone(group)).or_insert(start);
    }

    /// Whether `group` is noted here.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the embedded log needs it"))]
    pub(crate) fn is_registered(&self, group: &str) -> bool {
        lock(&self.log).committed.contains_key(group)
    }

    /// Notes that `group` has done all before `offset`. It never goes back, nor past the end.
    pub(crate) fn commit(&self, group: &Arc<str>, offset: i64) {
        let mut log = lock(&self.log);
        let offset = offset.clamp(log.start, log.end);
        let committed = log.committed.entry(Arc::clone(group)).or_insert(offset);
        *committed = offset.max(*committed);
    }

    /// Notes that `group` will not come back.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the embedded log needs it"))]
    pub(crate) fn forget(&self, group: &str) {
        lock(&self.log).committed.remove(group);
    }

    /// The offset before which every registered group has read everything.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the embedded log needs it"))]
    pub(crate) fn unread(&self) -> i64 {
        let log = lock(&self.log);
        log.committed.values().copied().min().unwrap_or(log.end)
    }

    /// Wakes `reader` whenever there is more.
    pub(crate) fn listen(&self, member: u64, reader: &Arc<Notify>) {
        lock(&self.log).readers.push((member, Arc::clone(reader)));
    }

    /// Wakes it no more.
    pub(crate) fn unlisten(&self, member: u64) {
        lock(&self.log).readers.retain(|(reader, _)| *reader != member);
    }
}

impl Log {
    fn wake(&self) {
        for (_, reader) in &self.readers {
            reader.notify_one();
        }
    }
}

fn cost(record: &Record) -> usize {
    record.size() + RECORD_OVERHEAD
}
