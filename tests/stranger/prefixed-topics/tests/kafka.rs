//! On Apache Kafka: the same program, with the names of two deployments on one cluster.

use std::{env, time::Duration};

use prefixed_topics::*;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
    message::{Header, Headers, Message, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use sagas::{kafka::Kafka, port::transport::Transport, prelude::*, TopicNames};

const PATIENCE: Duration = Duration::from_secs(60);

fn brokers() -> String {
    env::var("SAGAS_TEST_KAFKA").expect("SAGAS_TEST_KAFKA")
}

/// Publishes as a foreign program does.
async fn publish(producer: &FutureProducer, topic: &str, (event, id): (&str, &str), key: &str, value: &str) {
    let header = |key, value| Header { key, value: Some(value) };
    let headers =
        OwnedHeaders::new().insert(header("ce_id", id)).insert(header("ce_source", "team-a")).insert(header("ce_type", event));
    let record = FutureRecord::to(topic).key(key).payload(value).headers(headers);
    producer.send(record, PATIENCE).await.map_err(|(error, _)| error).unwrap();
}

/// Waits for `count` records of `topic` with a client that does not use sagas; returns the type and one header of each.
fn read(topic: &str, count: usize, header: &str) -> Vec<(Option<String>, Option<String>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("group.id", format!("reader-of-{topic}"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    let mut all = Vec::new();
    while all.len() < count {
        assert!(std::time::Instant::now() < until, "{topic}: {all:?}");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else { continue };
        let text = |name: &str| {
            let found = message.headers()?.iter().find(|header| header.key == name)?;
            Some(String::from_utf8_lossy(found.value?).into_owned())
        };
        all.push((text("ce_type"), text(header)));
    }
    all
}

fn is_there(topic: &str) -> bool {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let all = consumer.fetch_metadata(None, PATIENCE).unwrap();
    all.topics().iter().any(|known| known.name() == topic)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn two_deployments_share_a_cluster() {
    let run = std::process::id();
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let mut running = Vec::new();
    for stage in ["prod", "stage"] {
        let prefix = format!("{stage}-{run}.");
        let topics = TopicNames::prefixed(prefix.clone()).with("orders", format!("team-a-{run}.orders.{stage}"));
        let config = Config { broker: format!("kafka://{}", brokers()), topics };
        let done = Done::default();
        let kafka = Kafka::connect(config.broker.parse().unwrap()).await.unwrap();
        // The consumer group has the name of the service, so each deployment has a service of its own.
        let service = warehouse(&format!("{prefix}warehouse"), Database::memory(), &done);
        let handle = app(service, &config).start(kafka.clone()).await.unwrap();
        running.push((stage, prefix, done, handle, kafka));
    }
    let orders = format!("team-a-{run}.orders.prod");
    publish(&producer, &orders, ("OrderCreated", "m-1"), "a", r#"{"order_id":"a","quantity":2}"#).await;
    let (_, prefix, done, ..) = &running[0];
    let stock = format!("{prefix}stock");
    let read_stock = async |count| {
        let stock = stock.clone();
        let read = tokio::task::spawn_blocking(move || read(&stock, count, "ce_id")).await.unwrap();
        read.into_iter().filter_map(|(event, _)| event).collect::<Vec<_>>()
    };
    assert_eq!(read_stock(1).await, ["StockReserved"]);
    publish(&producer, &orders, ("OrderCancelled", "m-2"), "a", r#"{"order_id":"a"}"#).await;
    assert_eq!(read_stock(2).await, ["StockReserved", "StockReleased"]);
    publish(&producer, &orders, ("OrderCreated", "m-3"), "b", r#"{"order_id":"b","quantity":0}"#).await;
    // The dead letter topic is named after the service, and the deployment adds its prefix.
    let letters = format!("{prefix}{prefix}warehouse.dlt");
    let (told, came_from) = (format!("{prefix}shop.sagas.attention"), orders.clone());
    tokio::task::spawn_blocking(move || {
        assert_eq!(read(&letters, 1, "kafka_dlt-original-topic")[0].1, Some(came_from));
        assert_eq!(read(&told, 1, "ce_id")[0].0.as_deref(), Some("SagaStepGivenUp"));
    })
    .await
    .unwrap();
    assert_eq!(done.all(), ["reserved 2 of a", "released 2 of a"]);
    for (topic, expected) in
        [(format!("{prefix}stock"), true), (format!("{prefix}orders"), false), (format!("{prefix}warehouse.dlt"), false)]
    {
        assert_eq!(is_there(&topic), expected, "{topic}");
    }
    assert_eq!(running[1].2.all(), [""; 0], "the other deployment has heard of nothing");
    for (_, _, _, handle, kafka) in running {
        assert!(handle.stop().await);
        kafka.close().await;
    }
}
