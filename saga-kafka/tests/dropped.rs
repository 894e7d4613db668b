//! Transports that nobody closes, as a panic or an impatient caller leaves them, on a real Apache Kafka.
//!
//! Alone in its process, because it counts the threads that clients leave behind.
#![cfg(target_os = "linux")]

use std::{env, fs, sync::Arc, time::Duration};

use saga_core::{
    message::Record,
    time::LogTime,
    transport::{Delivery, TopicSpec, Transport},
};
use saga_kafka::{Kafka, KafkaConfig};

/// Worlds that are dropped one after another, each a little later in its life.
const WORLDS: u64 = 24;
const GROUP: &str = "dropped";

fn bootstrap() -> String {
    env::var("SAGAS_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:9092".into())
}

/// The threads of this process that belong to clients: librdkafka's own, and those of the transport.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("the process has threads");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("rdk:") || name.starts_with("saga-kafka")).collect()
}

/// Publishes to `topic`, two records at a time, as long as it is let.
async fn publish(kafka: Arc<Kafka>, topic: String) {
    for number in 0_u64.. {
        let record = |half: u64| Record {
            topic: topic.clone(),
            key: Some(format!("key-{}", number % 7).into()),
            value: Some(format!("{number}.{half}").into()),
            headers: vec![],
            timestamp: LogTime::from_millis(1_700_000_000_000),
        };
        kafka.publish(vec![record(0), record(1)]).await;
    }
}

/// Reads `topic` and commits what it has read, as long as it is let.
async fn read(kafka: Arc<Kafka>, topic: String) {
    let Ok(mut subscription) = kafka.subscribe(GROUP, &[topic]).await else { return };
    while let Ok(delivery) = subscription.next().await {
        match delivery {
            Delivery::Assigned(partitions) => {
                subscription.start(&partitions.into_iter().map(|partition| (partition, None)).collect::<Vec<_>>());
            }
            Delivery::Revoked(partitions) | Delivery::Lost(partitions) => subscription.release(&partitions),
            Delivery::Records { partition, records } => {
                let offsets = records.last().map(|last| (partition, last.offset + 1));
                drop(subscription.commit(offsets.into_iter().collect()));
            }
            Delivery::Passed { .. } | Delivery::Gap { .. } => {}
        }
    }
}

/// Asks what a service asks for.
async fn ask(kafka: Arc<Kafka>, topic: String) {
    let topics = [topic];
    loop {
        let _ = tokio::join!(kafka.identities(&topics), kafka.lag(GROUP, &topics), kafka.conditions(GROUP, &topics));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A world in full swing, which is gone `age` after it has begun.
fn world(topic: &str, age: Duration) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let kafka = Kafka::connect(KafkaConfig::new(bootstrap())).await.expect("a Kafka that answers: scripts/kafka start");
        kafka.ensure_topics(&[TopicSpec { name: topic.to_owned(), partitions: 6 }]).await.expect("the topic is made");
        for _ in 0..2 {
            tokio::spawn(publish(Arc::clone(&kafka), topic.to_owned()));
            tokio::spawn(read(Arc::clone(&kafka), topic.to_owned()));
        }
        tokio::spawn(ask(Arc::clone(&kafka), topic.to_owned()));
        tokio::time::sleep(age).await;
    });
    runtime.shutdown_background();
}

#[test]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
#[expect(clippy::disallowed_methods, reason = "no runtime is left whose clock could wait for the threads of clients")]
fn what_is_dropped_without_a_close_ends_and_leaves_no_thread() {
    let topic = format!("dropped-{}", std::process::id());
    for number in 0..WORLDS {
        world(&topic, Duration::from_millis(number * number * 10));
    }
    let mut left = threads();
    for _ in 0..600 {
        if left.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
        left = threads();
    }
    panic!("threads of clients are left a minute later: {left:?}");
}
