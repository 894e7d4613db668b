//! How the members of a group share several topics, on a real Apache Kafka.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::Arc,
    time::Duration,
};

use saga_core::{
    message::TopicPartition,
    transport::{Delivery, Subscription, TopicSpec, Transport},
};
use saga_kafka::{Kafka, KafkaConfig, config::GroupProtocol};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

const PARTITIONS: u32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// How long an assignment has to stay as it is: longer than a rebalance that follows another.
const STEADY: Duration = Duration::from_secs(2);

type Held = Arc<std::sync::Mutex<BTreeSet<TopicPartition>>>;

/// An instance of a service, as far as its assignment goes.
struct Instance {
    kafka: Arc<Kafka>,
    held: Held,
    reading: JoinHandle<()>,
}

impl Instance {
    async fn join(protocol: GroupProtocol, group: &str, topics: &[String]) -> Self {
        let server = env::var("SAGAS_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:9092".into());
        let config = KafkaConfig::new(server).group_protocol(protocol);
        let kafka = Kafka::connect(config).await.expect("a Kafka that answers: scripts/kafka start");
        let specs: Vec<_> = topics.iter().map(|topic| TopicSpec { name: topic.clone(), partitions: PARTITIONS }).collect();
        kafka.ensure_topics(&specs).await.expect("the topics are made");
        let subscription = kafka.subscribe(group, topics).await.expect("a subscription");
        let held = Held::default();
        let reading = tokio::spawn(read(subscription, Arc::clone(&held)));
        Self { kafka, held, reading }
    }

    fn held(&self) -> BTreeSet<TopicPartition> {
        self.held.lock().expect("no test panics with it").clone()
    }

    async fn leave(self) {
        self.kafka.close().await;
        self.reading.await.expect("reading ends when the transport is closed");
    }
}

/// Notes what is assigned and releases what is revoked, until the transport is closed.
async fn read(mut subscription: Box<dyn Subscription>, held: Held) {
    while let Ok(delivery) = subscription.next().await {
        let mut held = held.lock().expect("no test panics with it");
        match delivery {
            Delivery::Assigned(partitions) => {
                subscription.start(&partitions.iter().map(|partition| (partition.clone(), None)).collect::<Vec<_>>());
                held.extend(partitions);
            }
            Delivery::Revoked(partitions) => {
                held.retain(|partition| !partitions.contains(partition));
                subscription.release(&partitions);
            }
            Delivery::Lost(partitions) => held.retain(|partition| !partitions.contains(partition)),
            _ => {}
        }
    }
}

/// Waits until each instance has as many partitions of each topic as `expected` says, and for a while no others.
async fn shared(instances: &[&Instance], topics: &[String], expected: &[usize]) {
    let (deadline, mut since) = (Instant::now() + PATIENCE, None);
    loop {
        let held: Vec<_> = instances.iter().map(|instance| instance.held()).collect();
        let of =
            |topic: &String| held.iter().map(|held| held.iter().filter(|held| held.topic == *topic).count()).collect::<Vec<_>>();
        let shares: BTreeMap<_, _> = topics.iter().map(|topic| (topic, of(topic))).collect();
        if shares.values().all(|shares| shares == expected) {
            if since.get_or_insert_with(Instant::now).elapsed() >= STEADY {
                return;
            }
        } else {
            since = None;
        }
        assert!(Instant::now() < deadline, "shared within {PATIENCE:?}: {shares:?}, and not {expected:?} each");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A busy topic and an idle one: whatever comes and goes, each instance has its share of both.
async fn each_topic_is_shared(protocol: GroupProtocol) {
    let group = format!("balance-{protocol:?}-{}", std::process::id()).to_lowercase();
    let topics = ["busy", "idle"].map(|topic| format!("{group}-{topic}"));
    let join = async || Instance::join(protocol, &group, &topics).await;
    let first = join().await;
    shared(&[&first], &topics, &[6]).await;
    let second = join().await;
    shared(&[&first, &second], &topics, &[3, 3]).await;
    let third = join().await;
    shared(&[&first, &second, &third], &topics, &[2, 2, 2]).await;
    second.leave().await;
    shared(&[&first, &third], &topics, &[3, 3]).await;
    third.leave().await;
    first.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn each_instance_has_its_share_of_each_topic() {
    each_topic_is_shared(GroupProtocol::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn each_instance_has_its_share_of_each_topic_with_the_newer_group_protocol() {
    each_topic_is_shared(GroupProtocol::Consumer).await;
}
