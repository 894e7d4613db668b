//! Who publishes and reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use saga_core::{
    message::{Received, Record, TopicPartition},
    time::LogTime,
    transport::{Delivery, Subscription, TopicSpec, Transport, TransportError},
};
use saga_kafka::Kafka;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const GROUP: &str = "billing";

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}"))
}

pub(crate) async fn topic(kafka: &Kafka, name: &str, partitions: u32) {
    let spec = TopicSpec { name: name.to_owned(), partitions };
    within("making a topic", kafka.ensure_topics(&[spec])).await.expect("a topic is made");
}

pub(crate) fn record(value: usize) -> Record {
    Record {
        topic: TOPIC.to_owned(),
        key: Some(format!("key-{}", value % 17).into()),
        value: Some(value.to_string().into()),
        headers: vec![],
        timestamp: LogTime::from_millis(1_700_000_000_000),
    }
}

pub(crate) fn records(values: Range<usize>) -> Vec<Record> {
    values.map(record).collect()
}

pub(crate) fn value(received: &Received) -> usize {
    let value = received.record.value.as_deref().expect("a value");
    std::str::from_utf8(value).expect("text").parse().expect("a number")
}

/// Publishes records that all have to be stored.
pub(crate) async fn publish(kafka: &Kafka, records: Vec<Record>) {
    for answer in within("publishing", kafka.publish(records)).await {
        answer.expect("the record is stored");
    }
}

/// How many records the group has not done.
pub(crate) async fn lag(kafka: &Kafka) -> i64 {
    let lag = within("asking for the lag", async {
        loop {
            if let Ok(lag) = kafka.lag(GROUP, &[TOPIC.to_owned()]).await {
                break lag;
            }
        }
    });
    lag.await.iter().map(|partition| partition.end - partition.committed).sum()
}

/// A member that starts what it is assigned where the group has committed, and gives up at once what is wanted.
pub(crate) struct Reader {
    pub(crate) subscription: Box<dyn Subscription>,
    pub(crate) held: BTreeSet<TopicPartition>,
    pub(crate) read: Vec<Received>,
}

impl Reader {
    pub(crate) async fn join(kafka: &Kafka) -> Self {
        let subscription = within("subscribing", kafka.subscribe(GROUP, &[TOPIC.to_owned()])).await.expect("the group is joined");
        Self { subscription, held: BTreeSet::new(), read: vec![] }
    }

    /// One that it holds.
    pub(crate) fn partition(&self) -> TopicPartition {
        self.held.first().expect("it holds one").clone()
    }

    pub(crate) async fn turn(&mut self) {
        match self.subscription.next().await {
            Ok(Delivery::Assigned(partitions)) => {
                self.subscription.start(&partitions.iter().map(|partition| (partition.clone(), None)).collect::<Vec<_>>());
                self.held.extend(partitions);
            }
            Ok(Delivery::Revoked(partitions)) => {
                self.held.retain(|held| !partitions.contains(held));
                self.subscription.release(&partitions);
            }
            Ok(Delivery::Lost(partitions)) => self.held.retain(|held| !partitions.contains(held)),
            Ok(Delivery::Records { records, .. }) => self.read.extend(records),
            Ok(Delivery::Passed { .. }) => {}
            Ok(Delivery::Gap { partition, .. }) => panic!("a gap of {partition} where all records are there"),
            // A broker is away, and comes back.
            Err(_) => {}
        }
    }

    pub(crate) async fn read(&mut self, count: usize) {
        within("reading records", async {
            while self.read.len() < count {
                self.turn().await;
            }
        })
        .await;
        assert_eq!(self.read.len(), count, "no more records than were published");
    }

    /// The different values that were read, in order.
    pub(crate) fn values(&self) -> Vec<usize> {
        self.read.iter().map(value).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Commits what was read, but not beyond this offset.
    pub(crate) async fn commit(&mut self, at_most: i64) -> Result<(), TransportError> {
        let mut offsets = BTreeMap::new();
        for received in &self.read {
            let partition = TopicPartition::new(TOPIC, received.partition);
            let offset: &mut i64 = offsets.entry(partition).or_default();
            *offset = (*offset).max((received.offset + 1).min(at_most));
        }
        within("committing", self.subscription.commit(offsets.into_iter().collect())).await
    }

    pub(crate) async fn close(self) {
        within("leaving the group", self.subscription.close()).await;
    }
}
