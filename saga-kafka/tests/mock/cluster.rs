//! A mock of a cluster, and who reads from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext},
    mocking::MockCluster,
};
use saga_core::{
    message::{Received, Record, TopicPartition},
    time::LogTime,
    transport::{Delivery, Position, Subscription, Transport, TransportError},
};
use saga_kafka::{Kafka, KafkaConfig, config::GroupProtocol};

use super::native;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const GROUP: &str = "billing";

/// How long something may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}"))
}

/// Some brokers, with the topic [`TOPIC`].
pub(crate) struct Cluster {
    pub(crate) mock: MockCluster<'static, DefaultConsumerContext>,
}

impl Cluster {
    /// With brokers 1, 2, ... and a topic of so many partitions.
    pub(crate) fn new(brokers: i32, partitions: i32) -> Self {
        let client: BaseConsumer =
            ClientConfig::new().set("test.mock.num.brokers", brokers.to_string()).create().expect("a client with a mock");
        // The mock lives as long as the client, and a test as long as its process.
        let client: &'static BaseConsumer = Box::leak(Box::new(client));
        native::hurry(client);
        let mock = client.client().mock_cluster().expect("a mock");
        mock.create_topic(TOPIC, partitions, brokers.min(3)).expect("a topic");
        Self { mock }
    }

    /// Tuned for the mock, which does not wake who waits for records, and takes 10 s for a rebalance of the classic protocol.
    pub(crate) fn config(&self) -> KafkaConfig {
        KafkaConfig::new(self.mock.bootstrap_servers()).group_protocol(GroupProtocol::Consumer).client("fetch.wait.max.ms", "10")
    }

    pub(crate) async fn kafka(&self) -> Arc<Kafka> {
        Kafka::connect(self.config()).await.expect("the mock answers")
    }
}

pub(crate) fn record(key: &str, value: usize) -> Record {
    Record {
        topic: TOPIC.to_owned(),
        key: Some(key.to_owned().into()),
        value: Some(value.to_string().into()),
        headers: vec![],
        timestamp: LogTime::from_millis(1_700_000_000_000),
    }
}

/// Records with these values, spread over keys.
pub(crate) fn records(values: std::ops::Range<usize>) -> Vec<Record> {
    values.map(|value| record(&format!("key-{}", value % 17), value)).collect()
}

pub(crate) async fn publish(kafka: &Kafka, records: Vec<Record>) -> Vec<Position> {
    let answers = within("publishing", kafka.publish(records)).await;
    answers.into_iter().map(|answer| answer.expect("the record is stored")).collect()
}

pub(crate) fn value(received: &Received) -> usize {
    let value = received.record.value.as_deref().expect("a value");
    std::str::from_utf8(value).expect("text").parse().expect("a number")
}

/// A member that starts what it is assigned where the group has committed.
pub(crate) struct Reader {
    pub(crate) subscription: Box<dyn Subscription>,
    pub(crate) held: BTreeSet<TopicPartition>,
    pub(crate) read: Vec<Received>,
    pub(crate) problems: Vec<TransportError>,
    /// Gives up at once what another member wants.
    pub(crate) releases: bool,
}

impl Reader {
    pub(crate) async fn join(kafka: &Kafka) -> Self {
        let subscription = within("subscribing", kafka.subscribe(GROUP, &[TOPIC.to_owned()])).await.expect("the group is joined");
        Self { subscription, held: BTreeSet::new(), read: vec![], problems: vec![], releases: true }
    }

    /// Takes one delivery.
    pub(crate) async fn turn(&mut self) {
        match self.subscription.next().await {
            Ok(Delivery::Assigned(partitions)) => {
                self.subscription.start(&partitions.iter().map(|partition| (partition.clone(), None)).collect::<Vec<_>>());
                self.held.extend(partitions);
            }
            Ok(Delivery::Revoked(partitions)) => {
                self.held.retain(|held| !partitions.contains(held));
                if self.releases {
                    self.subscription.release(&partitions);
                }
            }
            Ok(Delivery::Lost(partitions)) => self.held.retain(|held| !partitions.contains(held)),
            Ok(Delivery::Records { partition, records }) => {
                assert!(self.held.contains(&partition), "{partition} is delivered to one that does not hold it");
                self.read.extend(records);
            }
            Ok(Delivery::Passed { .. }) => {}
            Ok(Delivery::Gap { partition, .. }) => panic!("a gap of {partition} where all records are there"),
            Err(problem) => self.problems.push(problem),
        }
    }

    pub(crate) async fn hold(&mut self, count: usize) {
        within("getting partitions", async {
            while self.held.len() != count {
                self.turn().await;
            }
        })
        .await;
    }

    /// Reads on until it has this many records.
    pub(crate) async fn read(&mut self, count: usize) {
        let reading = async {
            while self.read.len() < count {
                self.turn().await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, reading).await.is_ok();
        assert!(done, "{} of {count} records within {PATIENCE:?}: {:?}", self.read.len(), self.problems);
        assert_eq!(self.read.len(), count, "no more records than were published");
    }

    /// The values that were read, in order of size.
    pub(crate) fn values(&self) -> Vec<usize> {
        let mut values: Vec<_> = self.read.iter().map(value).collect();
        values.sort_unstable();
        values
    }

    /// Commits what was read.
    pub(crate) async fn commit(&mut self) -> Result<(), TransportError> {
        let mut offsets = BTreeMap::new();
        for received in &self.read {
            let partition = TopicPartition::new(TOPIC, received.partition);
            let offset: &mut i64 = offsets.entry(partition).or_default();
            *offset = (*offset).max(received.offset + 1);
        }
        within("committing", self.subscription.commit(offsets.into_iter().collect())).await
    }

    pub(crate) async fn close(self) {
        within("leaving the group", self.subscription.close()).await;
    }
}

/// How many records the group has not done.
pub(crate) async fn lag(kafka: &Kafka) -> i64 {
    let lag = within("asking for the lag", kafka.lag(GROUP, &[TOPIC.to_owned()])).await.expect("the lag is known");
    // As a service asks that only publishes.
    assert!(kafka.lag(GROUP, &[]).await.expect("of nothing").is_empty());
    assert!(kafka.identities(&[]).await.expect("of nothing").is_empty());
    lag.iter().map(|partition| partition.end - partition.committed).sum()
}
