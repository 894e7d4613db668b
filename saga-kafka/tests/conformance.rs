//! What every transport does, on a real Apache Kafka.

use std::{collections::BTreeSet, env, sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use saga_core::{
    message::{Record, TopicPartition},
    testing::conformance::transport,
    time::LogTime,
    transport::{TopicSpec, Transport},
};
use saga_kafka::{Kafka, KafkaConfig, config::GroupProtocol};

fn bootstrap() -> String {
    env::var("SAGAS_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:9092".into())
}

/// Topics take the 20 MB that the suite publishes as one record, and the record of the year 2100.
fn config() -> KafkaConfig {
    let ever = i64::MAX.to_string();
    KafkaConfig::new(bootstrap())
        .topic_option("max.message.bytes", "30000000")
        .topic_option("message.timestamp.after.max.ms", ever)
}

/// With `RUST_LOG`, what the transport does is shown.
fn show() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
}

async fn make(config: KafkaConfig) -> Arc<dyn Transport> {
    show();
    Kafka::connect(config).await.expect("a Kafka that answers: scripts/kafka start")
}

/// Removes the records of a partition before `offset`.
async fn remove(partition: &TopicPartition, offset: i64) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap()).create().expect("a client");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset)).expect("an offset");
    admin.delete_records(&offsets, &AdminOptions::new()).await.expect("records are removed");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn kafka_is_a_transport() {
    transport::all(async || make(config()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn kafka_is_a_transport_with_the_newer_group_protocol() {
    transport::all(async || make(config().group_protocol(GroupProtocol::Consumer)).await).await;
}

/// A broker that is about to lead a new partition may refuse a request and take the next.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn what_is_published_to_new_topics_is_where_the_answers_say() {
    let kafka = make(config()).await;
    for round in 0..40 {
        let topic = format!("new-{}-{round}", std::process::id());
        kafka.ensure_topics(&[TopicSpec { name: topic.clone(), partitions: 6 }]).await.expect("the topic is made");
        let record = |number: usize| Record {
            topic: topic.clone(),
            key: Some(format!("key-{}", number % 17).into()),
            value: Some(number.to_string().into()),
            headers: vec![],
            timestamp: LogTime::from_millis(1_700_000_000_000),
        };
        let half = |numbers: std::ops::Range<usize>| kafka.publish(numbers.map(record).collect());
        let (one, other) = tokio::join!(half(0..60), half(60..120));
        let places: BTreeSet<_> = one
            .into_iter()
            .chain(other)
            .map(|answer| answer.expect("the record is stored"))
            .map(|position| (position.partition, position.offset))
            .collect();
        assert_eq!(places.len(), 120, "each has a place of its own");
        let ends = kafka.offsets(&topic, None).await.expect("offsets");
        assert_eq!(ends.iter().map(|offsets| offsets.end).sum::<i64>(), 120, "all are in the log, in round {round}");
    }
    kafka.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn removed_records_are_a_gap() {
    let kafka = make(config()).await;
    transport::removed_records_are_a_gap(Arc::clone(&kafka), remove).await;
    kafka.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_topic_that_was_deleted_is_made_with_the_partitions_that_it_had() {
    let (kafka, topic) = (make(config()).await, format!("deleted-{}", std::process::id()));
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap()).create().expect("a client");
    let spec = |partitions| [TopicSpec { name: topic.clone(), partitions }];
    // A broker may not know for a moment that it leads a partition.
    let count = async || {
        for _ in 0..100 {
            if let Ok(partitions) = kafka.offsets(&topic, None).await {
                return partitions.len();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nobody leads the partitions of `{topic}`");
    };
    kafka.ensure_topics(&spec(4)).await.expect("it is made");
    assert_eq!(count().await, 4);
    for _ in 0..2 {
        admin.delete_topics(&[&topic], &AdminOptions::new()).await.expect("an answer").remove(0).expect("it is deleted");
        let gone = async {
            while kafka.conditions("nobody", std::slice::from_ref(&topic)).await.expect("an answer").is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.expect("it is told to be missing");
        kafka.ensure_topics(&spec(6)).await.expect("it is made anew");
        assert_eq!(count().await, 4);
    }
    admin.delete_topics(&[&topic], &AdminOptions::new()).await.expect("an answer").remove(0).expect("it is deleted");
    kafka.close().await;
}
