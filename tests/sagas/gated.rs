//! A log that delivers what the test lets through: each queue, of one topic for one service, moves by one record at a time.
//!
//! Topics have one partition here, so that a queue is a sequence of offsets, and its gate is a number.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sagas::{
    message::{Received, Record, TopicPartition},
    port::transport::{Delivery, GroupLag, Position, Subscription, TopicSpec, Transport},
    transport::{TransportError, memory::Memory},
};
use tokio::sync::watch;

/// A topic as one service consumes it.
pub type Queue = (&'static str, &'static str);

/// A log with gates. Clones share it.
#[derive(Clone)]
pub struct Gated(Arc<Shared>);

struct Shared {
    log: Memory,
    gates: Mutex<Gates>,
    moved: watch::Sender<()>,
}

#[derive(Default)]
struct Gates {
    /// The number of records that were let through, for queues with a gate.
    let_through: BTreeMap<Queue, i64>,
    /// Services that are in the middle of a delivery, but count as idle.
    resting: BTreeSet<&'static str>,
    /// The types of the records of each topic.
    types: BTreeMap<String, Vec<String>>,
    members: u32,
    /// The member that reads a topic for a service.
    readers: BTreeMap<(String, String), u32>,
}

impl Gates {
    fn limit(&self, service: &str, topic: &str) -> Option<i64> {
        self.let_through.iter().find(|(queue, _)| **queue == (service, topic)).map(|(_, limit)| *limit)
    }
}

impl Gated {
    /// Creates a log whose `queues` have closed gates.
    pub fn new(queues: impl IntoIterator<Item = Queue>) -> Self {
        let gates = Gates { let_through: queues.into_iter().map(|queue| (queue, 0)).collect(), ..Gates::default() };
        Self(Arc::new(Shared { log: Memory::new(), gates: Mutex::new(gates), moved: watch::Sender::new(()) }))
    }

    /// Returns the queues in which a record waits at the gate, each with that record's type.
    pub fn waiting(&self) -> Vec<(Queue, String)> {
        let gates = self.0.gates.lock().unwrap();
        let head = |(queue, limit): (&Queue, &i64)| {
            Some((*queue, gates.types.get(queue.1)?.get(usize::try_from(*limit).unwrap())?.clone()))
        };
        gates.let_through.iter().filter_map(head).collect()
    }

    /// Returns the number of records published to `topic`.
    pub fn published(&self, topic: &str) -> i64 {
        self.0.gates.lock().unwrap().types.get(topic).map_or(0, Vec::len).try_into().unwrap()
    }

    /// Returns the member of the group that reads `queue`.
    pub fn reader(&self, (service, topic): Queue) -> Option<u32> {
        self.0.gates.lock().unwrap().readers.get(&(service.to_owned(), topic.to_owned())).copied()
    }

    /// Lets one more record of `queue` through.
    pub fn pass(&self, queue: Queue) {
        *self.0.gates.lock().unwrap().let_through.get_mut(&queue).unwrap() += 1;
        self.0.moved.send_replace(());
    }

    /// Removes the gate of `queue`.
    pub fn open(&self, queue: Queue) {
        self.0.gates.lock().unwrap().let_through.remove(&queue);
        self.0.moved.send_replace(());
    }

    /// Puts a gate before `queue`, which has let `let_through` records through.
    pub fn shut(&self, queue: Queue, let_through: i64) {
        self.0.gates.lock().unwrap().let_through.insert(queue, let_through);
    }

    /// Sets whether `service` counts as idle although it is in the middle of a delivery.
    pub fn set_resting(&self, service: &'static str, resting: bool) {
        let mut gates = self.0.gates.lock().unwrap();
        if resting {
            gates.resting.insert(service)
        } else {
            gates.resting.remove(service)
        };
    }

    pub fn is_resting(&self, service: &str) -> bool {
        self.0.gates.lock().unwrap().resting.contains(service)
    }
}

#[async_trait]
impl Transport for Gated {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        let single = topics.iter().map(|topic| TopicSpec { name: topic.name.clone(), partitions: 1 });
        self.0.log.ensure_topics(&single.collect::<Vec<_>>()).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        for record in &records {
            let named = record.header("ce_type").unwrap_or_default().to_owned();
            self.0.gates.lock().unwrap().types.entry(record.topic.clone()).or_default().push(named);
        }
        self.0.log.publish(records).await
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        let inner = self.0.log.subscribe(group, topics).await?;
        let (shared, moved) = (self.0.clone(), self.0.moved.subscribe());
        let (waiting, paused) = (VecDeque::new(), BTreeSet::new());
        let member = {
            let mut gates = self.0.gates.lock().unwrap();
            gates.members += 1;
            gates.members
        };
        Ok(Box::new(GatedSubscription { inner, group: group.to_owned(), member, shared, moved, waiting, paused }))
    }

    /// Records that wait at a gate are not reported.
    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        let mut lags = self.0.log.lag(group, topics).await?;
        let gates = self.0.gates.lock().unwrap();
        for lag in &mut lags {
            let limit = gates.limit(group, &lag.partition.topic).unwrap_or(i64::MAX);
            lag.end = if gates.resting.contains(group) { lag.committed } else { lag.end.min(limit) };
        }
        Ok(lags)
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.0.log.check().await
    }

    async fn close(&self) {
        self.0.log.close().await;
    }
}

struct GatedSubscription {
    inner: Box<dyn Subscription>,
    group: String,
    member: u32,
    shared: Arc<Shared>,
    moved: watch::Receiver<()>,
    /// Records that the log has delivered and the gate has not let through.
    waiting: VecDeque<(TopicPartition, Received)>,
    paused: BTreeSet<TopicPartition>,
}

impl GatedSubscription {
    fn let_through(&mut self) -> Option<Delivery> {
        let gates = self.shared.gates.lock().unwrap();
        let may_pass = |(partition, received): &(TopicPartition, Received)| {
            let limit = gates.limit(&self.group, &partition.topic);
            limit.is_none_or(|limit| received.offset < limit) && !self.paused.contains(partition)
        };
        let at = self.waiting.iter().position(may_pass)?;
        let (partition, received) = self.waiting.remove(at)?;
        Some(Delivery::Records { partition, records: vec![received] })
    }

    fn forget(&mut self, gone: &[TopicPartition]) {
        self.waiting.retain(|(partition, _)| !gone.contains(partition));
        self.paused.retain(|partition| !gone.contains(partition));
    }
}

#[async_trait]
impl Subscription for GatedSubscription {
    async fn next(&mut self) -> Result<Delivery, TransportError> {
        loop {
            self.moved.borrow_and_update();
            if let Some(delivery) = self.let_through() {
                return Ok(delivery);
            }
            let delivery = tokio::select! {
                biased;
                delivery = self.inner.next() => delivery?,
                _ = self.moved.changed() => continue,
            };
            match delivery {
                Delivery::Records { partition, records } => {
                    self.waiting.extend(records.into_iter().map(|received| (partition.clone(), received)));
                }
                Delivery::Revoked(partitions) => {
                    self.forget(&partitions);
                    return Ok(Delivery::Revoked(partitions));
                }
                Delivery::Lost(partitions) => {
                    self.forget(&partitions);
                    return Ok(Delivery::Lost(partitions));
                }
                other => return Ok(other),
            }
        }
    }

    fn start(&mut self, from: &[(TopicPartition, Option<i64>)]) {
        self.waiting.retain(|(partition, _)| !from.iter().any(|(moved, _)| moved == partition));
        let read = from.iter().map(|(partition, _)| ((self.group.clone(), partition.topic.clone()), self.member));
        self.shared.gates.lock().unwrap().readers.extend(read);
        self.inner.start(from);
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.paused.extend(partitions.iter().cloned());
        self.inner.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.paused.retain(|partition| !partitions.contains(partition));
        self.inner.resume(partitions);
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, Result<(), TransportError>> {
        self.inner.commit(offsets)
    }

    fn release(&mut self, partitions: &[TopicPartition]) {
        self.inner.release(partitions);
    }

    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}
