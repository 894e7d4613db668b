//! Topics that only other programs create: on a real Apache Kafka.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use sagas::{
    App, Handle, Settings, StartError,
    id::IdSource,
    kafka::{Kafka, KafkaConfig},
    port::transport::{TopicExpectation, TopicSpec, Transport, Weight},
    prelude::*,
    time::Clock,
};
use sagas_tests::{Prefixed, eventually};

use crate::support::*;

#[event(topic = "undeclared", key = order_id)]
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Undeclared {
    order_id: String,
}

fn bootstrap() -> String {
    std::env::var("SAGAS_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:9092".to_owned())
}

async fn kafka(create: bool) -> Arc<Kafka> {
    let config = KafkaConfig::new(bootstrap()).create_topics(create);
    Kafka::connect(config).await.expect("a Kafka that answers: scripts/kafka start")
}

/// Returns the topics of the cluster that begin with `prefix`, without the prefix.
async fn topics(prefix: &str) -> Vec<String> {
    let (server, prefix) = (bootstrap(), prefix.to_owned());
    let look = move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", server).create().unwrap();
        let all = consumer.fetch_metadata(None, Duration::from_secs(60)).unwrap();
        let mut named: Vec<_> =
            all.topics().iter().filter_map(|topic| topic.name().strip_prefix(&prefix)).map(str::to_owned).collect();
        named.sort();
        named
    };
    tokio::task::spawn_blocking(look).await.unwrap()
}

async fn start(prefix: &str, plan: &Plan) -> Result<Handle, StartError> {
    let mut settings = Settings::default();
    settings.stop_timeout_ms = 2_000;
    let service = service(&Database::memory(), plan).handlers(handlers![bare]).settings(settings);
    App::new("shop").service(service).start(Arc::new(Prefixed::new(kafka(false).await, prefix))).await
}

#[tokio::test]
#[ignore = "needs Kafka: scripts/kafka start"]
async fn where_none_is_created_a_missing_topic_is_named_and_one_that_is_there_is_as_it_should_be() {
    let prefix = format!("given-{}.", IdSource::random().uuid(Clock::system().now()));
    let plan = Plan::done();
    let error = start(&prefix, &plan).await.expect_err("nothing is there").to_string();
    for topic in ["orders", "payments", "payments.dlt"] {
        let command = format!("`kafka-topics --create --topic {prefix}{topic} --partitions 6`");
        assert!(error.contains(&command), "{command} is missing: {error}");
    }
    assert!(error.contains("`topic.create` is false"), "{error}");
    assert_eq!(topics(&prefix).await, [""; 0], "none is created");

    // Created by another program, with fewer partitions than a service would have created.
    let given = ["orders", "payments", "payments.dlt"];
    let specs = given.map(|name| TopicSpec { name: format!("{prefix}{name}"), partitions: 1 });
    let by_hand = kafka(true).await;
    by_hand.ensure_topics(&specs).await.unwrap();
    let wanted = specs.map(|spec| TopicExpectation {
        name: spec.name,
        partitions: 6,
        record_bytes: 1024,
        outage: Duration::ZERO,
        copies: false,
    });
    let partitions = async |kafka: &Arc<Kafka>| {
        let findings = kafka.check_topics(&wanted).await.unwrap();
        let partitions = findings.iter().filter(|finding| finding.setting == "partitions");
        partitions.inspect(|finding| assert_eq!(finding.weight, Weight::Note, "{finding:?}")).count()
    };
    assert_eq!((partitions(&by_hand).await, partitions(&kafka(false).await).await), (3, 0), "that is its owner's to say");

    let handle = start(&prefix, &plan).await.unwrap();
    let mut work = handle.service("payments").unwrap().begin().await.unwrap();
    work.publish(&Undeclared { order_id: "a".to_owned() }).unwrap();
    work.publish(&placed("a", 1)).unwrap();
    work.commit().await.unwrap();
    eventually("the order is handled", async || (plan.numbers("a") == [1]).then_some(())).await;
    assert_eq!(topics(&prefix).await, given, "nor is one that an event names");
    // Events without a topic wait in the outbox, so the stop takes a while.
    handle.stop().await;
}
