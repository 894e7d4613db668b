//! What the properties are written with.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::PATIENCE;
use crate::{
    id::IdSource,
    message::{Received, Record},
    time::{Clock, LogTime},
    transport::{Delivery, Position, Subscription, TopicPartition, TopicSpec, Transport, TransportError},
};

/// How long nothing may come. That it does not come later either has to be shown otherwise.
const SILENCE: Duration = Duration::from_millis(50);

/// Waits for something that has to happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: did not happen within {PATIENCE:?}"),
    }
}

/// A log, a topic that nobody else uses, and names for groups.
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

    /// Publishes records that all have to be stored.
    pub(crate) async fn publish(&self, records: Vec<Record>) -> Vec<Position> {
        let count = records.len();
        let answers = within("publishing", self.log.publish(records)).await;
        assert_eq!(answers.len(), count, "every record is answered");
        answers.into_iter().map(|answer| answer.expect("the record is stored")).collect()
    }

    /// Publishes values 0, 1, 2, ... under keys that spread over the partitions.
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

    /// A reader that holds the topic's only partition and was not told where to start.
    pub(crate) async fn unstarted(&self, group: &str) -> Reader {
        let mut reader = Reader { starts: false, ..self.reader(group).await };
        reader.hold(1).await;
        reader
    }

    /// How many records the group has not done, over all partitions.
    pub(crate) async fn lag(&self, group: &str) -> i64 {
        let topics = [self.topic.clone()];
        let lag = within("asking for the lag", self.log.lag(&self.group(group), &topics)).await.expect("the lag is known");
        lag.iter().map(|partition| partition.end - partition.committed).sum()
    }

    /// Waits until the lag is this.
    pub(crate) async fn lag_becomes(&self, group: &str, expected: i64) {
        within("the lag changing", async {
            while self.lag(group).await != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// A member that keeps track of what it holds.
pub(crate) struct Reader {
    pub(crate) subscription: Box<dyn Subscription>,
    pub(crate) held: BTreeSet<TopicPartition>,
    waiting: Vec<Received>,
    /// Whether it starts what it is assigned, from where the group has committed.
    starts: bool,
}

impl Reader {
    /// The next delivery, entered into the books.
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

    /// Reads until it holds so many partitions.
    pub(crate) async fn hold(&mut self, count: usize) {
        within("getting partitions", async {
            while self.held.len() != count {
                self.turn().await;
            }
        })
        .await;
    }

    /// Takes one delivery, and releases at once what is revoked.
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

    /// The next delivery, which has to be a gap: what was wanted, the oldest, and the end.
    pub(crate) async fn gap(&mut self) -> (i64, i64, i64) {
        match within("telling a gap", self.next()).await.expect("the log can be read") {
            Delivery::Gap { wanted, oldest, end, .. } => (wanted, oldest, end),
            other => panic!("{other:?} where records are missing"),
        }
    }

    /// Gives nothing for a while.
    pub(crate) async fn is_silent(&mut self) {
        let early = tokio::time::timeout(SILENCE, self.next()).await;
        assert!(early.is_err(), "{early:?} where nothing may come");
    }

    /// What was read since the last time.
    pub(crate) fn take(&mut self) -> Vec<Received> {
        std::mem::take(&mut self.waiting)
    }

    /// Reads exactly so many records.
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

    /// Commits everything up to the newest of these records in each partition.
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

/// The values, as the numbers they were published as.
pub(crate) fn numbers(records: &[Received]) -> Vec<usize> {
    records
        .iter()
        .map(|received| {
            let value = received.record.value.as_deref().expect("a value");
            std::str::from_utf8(value).expect("text").parse().expect("a number")
        })
        .collect()
}

/// The values as numbers, in order of size.
pub(crate) fn sorted(records: &[Received]) -> Vec<usize> {
    let mut numbers = numbers(records);
    numbers.sort_unstable();
    numbers
}
