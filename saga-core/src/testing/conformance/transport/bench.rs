//! The helpers of the checks.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::PATIENCE;
use crate::{
    id::IdSource,
    message::{Received, Record},
    time::{Clock, LogTime},
    transport::{Delivery, Position, Subscription, TopicPartition, TopicSpec, Transport, TransportError},
};

/// The time in which nothing must arrive. A check has to show in another way that it does not arrive later either.
const SILENCE: Duration = Duration::from_millis(50);

/// Waits for something that must happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: did not happen within {PATIENCE:?}"),
    }
}

/// A log, a topic that only this check uses, and names for groups.
pub(crate) struct Bench {
    pub(crate) log: Arc<dyn Transport>,
    pub(crate) topic: String,
    name: String,
}

impl Bench {
    pub(crate) async fn new(log: Arc<dyn Transport>, partitions: u32) -> Self {
        let name = format!("conformance-{}", IdSource::random().uuid(Clock::system().now()));
        let topic = format!("{name}.topic");
        let spec = TopicSpec { name: topic.clone(), partitions };
        within("making a topic", log.ensure_topics(&[spec])).await.expect("a topic is made");
        Self { log, topic, name }
    }

    pub(crate) fn group(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    pub(crate) fn partition(&self, number: i32) -> TopicPartition {
        TopicPartition::new(&self.topic, number)
    }

    pub(crate) fn record(&self, key: &str, value: impl ToString) -> Record {
        Record {
            topic: self.topic.clone(),
            key: Some(key.to_owned().into()),
            value: Some(value.to_string().into()),
            headers: vec![],
            timestamp: LogTime::from_millis(1_700_000_000_000),
        }
    }

    /// Publishes records that must all be stored.
    pub(crate) async fn publish(&self, records: Vec<Record>) -> Vec<Position> {
        let count = records.len();
        let answers = within("publishing", self.log.publish(records)).await;
        assert_eq!(answers.len(), count, "every record is answered");
        answers.into_iter().map(|answer| answer.expect("the record is stored")).collect()
    }

    /// Publishes the values 0, 1, 2, ... with keys that are distributed over the partitions.
    pub(crate) async fn publish_numbers(&self, numbers: std::ops::Range<usize>) -> Vec<Position> {
        self.publish(numbers.map(|number| self.record(&format!("key-{}", number % 37), number)).collect()).await
    }

    pub(crate) async fn reader(&self, group: &str) -> Reader {
        self.reader_of(group, &[&self.topic]).await
    }

    pub(crate) async fn reader_of(&self, group: &str, topics: &[&str]) -> Reader {
        let topics: Vec<String> = topics.iter().map(ToString::to_string).collect();
        let subscription =
            within("subscribing", self.log.subscribe(&self.group(group), &topics)).await.expect("the group is joined");
        Reader { subscription, held: BTreeSet::new(), waiting: Vec::new(), starts: true }
    }

    /// Returns a reader that has the topic's only partition and is not started.
    pub(crate) async fn unstarted(&self, group: &str) -> Reader {
        let mut reader = Reader { starts: false, ..self.reader(group).await };
        reader.hold(1).await;
        reader
    }

    /// Returns the lag of the group, over all partitions.
    pub(crate) async fn lag(&self, group: &str) -> i64 {
        let topics = [self.topic.clone()];
        let lag = within("asking for the lag", self.log.lag(&self.group(group), &topics)).await.expect("the lag is known");
        lag.iter().map(|partition| partition.end - partition.committed).sum()
    }

    /// Waits until the lag is `expected`.
    pub(crate) async fn lag_becomes(&self, group: &str, expected: i64) {
        within("the lag changing", async {
            while self.lag(group).await != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// A member that records which partitions it has.
pub(crate) struct Reader {
    pub(crate) subscription: Box<dyn Subscription>,
    pub(crate) held: BTreeSet<TopicPartition>,
    waiting: Vec<Received>,
    /// Whether it starts its assigned partitions, from where the group has committed.
    starts: bool,
}

impl Reader {
    /// Returns the next delivery, after updating `held`.
    pub(crate) async fn next(&mut self) -> Result<Delivery, TransportError> {
        let delivery = self.subscription.next().await?;
        match &delivery {
            Delivery::Assigned(partitions) => {
                for partition in partitions {
                    assert!(self.held.insert(partition.clone()), "{partition} is assigned while it is held");
                }
                if self.starts {
                    self.subscription.start(&partitions.iter().map(|partition| (partition.clone(), None)).collect::<Vec<_>>());
                }
            }
            Delivery::Revoked(partitions) | Delivery::Lost(partitions) => {
                for partition in partitions {
                    assert!(self.held.remove(partition), "{partition} is taken from one that does not hold it");
                }
            }
            Delivery::Records { partition, records } => {
                assert!(!records.is_empty(), "a delivery of records has at least one");
                assert!(self.held.contains(partition), "{partition} is delivered to one that does not hold it");
                assert!(
                    records
                        .iter()
                        .all(|received| received.partition == partition.partition && received.record.topic == partition.topic),
                    "a delivery is of one partition"
                );
            }
            Delivery::Passed { partition, .. } => {
                assert!(self.held.contains(partition), "offsets of {partition} are passed for one that does not hold it");
            }
            Delivery::Gap { partition, .. } => {
                assert!(self.held.contains(partition), "a gap of {partition} is told to one that does not hold it");
            }
        }
        Ok(delivery)
    }

    /// Reads until it has this many partitions.
    pub(crate) async fn hold(&mut self, count: usize) {
        within("getting partitions", async {
            while self.held.len() != count {
                self.turn().await;
            }
        })
        .await;
    }

    /// Takes one delivery, and releases revoked partitions at once.
    pub(crate) async fn turn(&mut self) {
        match self.next().await.expect("the log can be read") {
            Delivery::Records { records, .. } => self.waiting.extend(records),
            Delivery::Revoked(partitions) => self.subscription.release(&partitions),
            Delivery::Assigned(_) | Delivery::Lost(_) | Delivery::Passed { .. } => {}
            gap @ Delivery::Gap { .. } => panic!("{gap:?} where all records are there"),
        }
    }

    /// Reads `partition` from this offset on.
    pub(crate) fn start(&mut self, partition: TopicPartition, from: Option<i64>) {
        self.subscription.start(&[(partition, from)]);
    }

    /// Returns the next delivery, which must be a gap: the wanted offset, the oldest offset and the end.
    pub(crate) async fn gap(&mut self) -> (i64, i64, i64) {
        match within("telling a gap", self.next()).await.expect("the log can be read") {
            Delivery::Gap { wanted, oldest, end, .. } => (wanted, oldest, end),
            other => panic!("{other:?} where records are missing"),
        }
    }

    /// Checks that nothing is delivered for a while.
    pub(crate) async fn is_silent(&mut self) {
        let early = tokio::time::timeout(SILENCE, self.next()).await;
        assert!(early.is_err(), "{early:?} where nothing may come");
    }

    /// Takes the records that were read since the last call.
    pub(crate) fn take(&mut self) -> Vec<Received> {
        std::mem::take(&mut self.waiting)
    }

    /// Reads exactly `count` records.
    pub(crate) async fn read(&mut self, count: usize) -> Vec<Received> {
        within("reading records", async {
            while self.waiting.len() < count {
                self.turn().await;
            }
        })
        .await;
        let records = self.take();
        assert_eq!(records.len(), count, "no more records than were published");
        records
    }

    /// Commits the offsets after the newest of these records in each partition.
    pub(crate) async fn commit(&mut self, records: &[Received]) {
        let mut offsets = std::collections::BTreeMap::new();
        for received in records {
            let partition = TopicPartition::new(&received.record.topic, received.partition);
            let offset: &mut i64 = offsets.entry(partition).or_default();
            *offset = (*offset).max(received.offset + 1);
        }
        let commit = self.subscription.commit(offsets.into_iter().collect());
        within("committing", commit).await.expect("the offsets are stored");
    }

    pub(crate) async fn close(self) {
        within("leaving the group", self.subscription.close()).await;
    }
}

/// Returns the values as the numbers that they were published as.
pub(crate) fn numbers(records: &[Received]) -> Vec<usize> {
    records
        .iter()
        .map(|received| {
            let value = received.record.value.as_deref().expect("a value");
            std::str::from_utf8(value).expect("text").parse().expect("a number")
        })
        .collect()
}

/// Returns the values as numbers, sorted.
pub(crate) fn sorted(records: &[Received]) -> Vec<usize> {
    let mut numbers = numbers(records);
    numbers.sort_unstable();
    numbers
}
