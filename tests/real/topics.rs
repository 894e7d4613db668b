//! The contents of the topics, as a plain consumer reads them.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};
use serde_json::Value;
use tokio::time::Instant;

/// How long the broker can take to deliver all records.
const PATIENCE: Duration = Duration::from_secs(60);

/// A published record.
#[derive(Debug, Clone)]
pub struct Published {
    pub topic: &'static str,
    pub partition: i32,
    pub key: String,
    /// The message id, `ce_id`.
    pub id: String,
    /// The event's name, `ce_type`.
    pub name: String,
    pub value: Value,
}

/// Returns all records of these topics; records of one partition are in order.
pub async fn published(bootstrap: String, topics: &'static [&'static str]) -> Vec<Published> {
    let read = move || topics.iter().flat_map(|topic| read(&bootstrap, topic)).collect();
    tokio::task::spawn_blocking(read).await.unwrap()
}

fn read(bootstrap: &str, topic: &'static str) -> Vec<Published> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "auditor").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = metadata.topics()[0].partitions().iter().map(|partition| partition.id());
    let mut open: BTreeMap<_, _> = partitions
        .map(|partition| (partition, consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap().1))
        .filter(|(_, end)| *end > 0)
        .collect();
    let mut from = TopicPartitionList::new();
    for partition in open.keys() {
        from.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&from).unwrap();

    let (mut all, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while !open.is_empty() {
        assert!(Instant::now() < deadline, "{topic} is not read within {PATIENCE:?}: partitions and ends {open:?}");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let header = |name: &str| {
            let headers = message.headers().unwrap_or_else(|| panic!("a record without headers in {topic}"));
            let header = headers.iter().find(|header| header.key == name).and_then(|header| header.value);
            header.map(|value| String::from_utf8(value.to_vec()).unwrap()).unwrap_or_default()
        };
        all.push(Published {
            topic,
            partition: message.partition(),
            key: String::from_utf8(message.key().unwrap().to_vec()).unwrap(),
            id: header("ce_id"),
            name: header("ce_type"),
            value: serde_json::from_slice(message.payload().unwrap()).unwrap(),
        });
        if open.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            open.remove(&message.partition());
        }
    }
    all
}
