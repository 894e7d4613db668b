//! On the embedded log, whose topics have the names of the deployment.

use std::{path::Path, sync::Arc, time::Duration};

use prefixed_topics::*;
use sagas::{message::{headers, Context, Outgoing, Received, TraceContext}, port::transport::{Delivery, Transport}, prelude::*, time::Timestamp, transport::embedded::{Embedded, EmbeddedOptions}, TopicNames};

async fn open(folder: &Path) -> Arc<dyn Transport> {
    Embedded::open(folder, EmbeddedOptions::default()).await.unwrap()
}

/// Publishes `event` to `topic` as a program of another team does, with its own names.
async fn publish<E: Event>(log: &dyn Transport, topic: &str, id: &str, event: &E) {
    let trace = TraceContext::root(&sagas::id::IdSource::seeded(1));
    let mut record = Outgoing::of(event).unwrap().into_record(
        &sagas::id::MessageId::new(id),
        "elsewhere",
        Timestamp::from_millis(1),
        &Context::root(id, trace),
    );
    record.topic = topic.to_owned();
    log.publish(vec![record]).await.remove(0).unwrap();
}

/// Waits for `count` records of `topic`, by its name in the log.
async fn records(log: &dyn Transport, topic: &str, count: usize) -> Vec<Received> {
    let topics = [topic.to_owned()];
    let mut reader = log.subscribe(&format!("reader-{topic}-{count}"), &topics).await.unwrap();
    let mut all = Vec::new();
    let reading = async {
        while all.len() < count {
            match reader.next().await.unwrap() {
                Delivery::Assigned(partitions) => reader.start(&partitions.into_iter().map(|at| (at, None)).collect::<Vec<_>>()),
                Delivery::Records { records, .. } => all.extend(records),
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap();
    reader.close().await;
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_and_a_name_of_a_configuration_hold_for_all_topics() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    let config = Config::load(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/shop.toml")))).unwrap();
    assert_eq!(config.topics, TopicNames::prefixed("prod.").with("orders", "team-a.orders.v1"));
    let done = Done::default();
    let handle = app(warehouse("warehouse", Database::memory(), &done), &config).start(log.clone()).await.unwrap();

    let order = |order_id: &str, quantity| OrderCreated { order_id: order_id.into(), quantity };
    publish(&*log, "team-a.orders.v1", "m-1", &order("a", 2)).await;
    let reserved = records(&*log, "prod.stock", 1).await;
    assert_eq!(reserved[0].record.header(headers::TYPE), Some("StockReserved"));
    publish(&*log, "team-a.orders.v1", "m-2", &OrderCancelled { order_id: "a".into() }).await;
    let released = records(&*log, "prod.stock", 2).await;
    assert!(released.iter().any(|received| received.record.header(headers::TYPE) == Some("StockReleased")));
    assert_eq!(done.all(), ["reserved 2 of a", "released 2 of a"]);

    // A dead letter, and its notice to the saga's tracker.
    publish(&*log, "team-a.orders.v1", "m-3", &order("b", 0)).await;
    let letter = &records(&*log, "prod.warehouse.dlt", 1).await[0];
    assert_eq!(letter.record.header(headers::DLT_TOPIC), Some("team-a.orders.v1"));
    let told = records(&*log, "prod.shop.sagas.attention", 1).await;
    assert_eq!(told[0].record.header(headers::TYPE), Some("SagaStepGivenUp"));
    let (letters, _) = handle.service("warehouse").unwrap().dead_letters(0, 10).await.unwrap();
    assert_eq!(letters[0].received.record.topic, "orders", "the service has the names of the code");

    for topic in ["orders", "stock", "warehouse.dlt", "sagas.attention", "prod.orders"] {
        assert!(log.offsets(topic, None).await.is_err(), "{topic} is not there");
    }
    for topic in ["prod.shop.sagas.attention", "prod.shop.sagas.operations"] {
        assert_eq!(log.offsets(topic, None).await.unwrap().len(), 1, "{topic} has one partition");
    }
    assert!(handle.stop().await);
    log.close().await;
}

#[test]
fn topics_that_would_be_one_are_told_before_anything_starts() {
    let config = Config { broker: "embedded".into(), topics: TopicNames::prefixed("prod.").with("orders", "prod.stock") };
    let problems = app(warehouse("warehouse", Database::memory(), &Done::default()), &config).check();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("the topics `orders` and `stock` are both called `prod.stock` in the log"), "{problems:?}");
}
