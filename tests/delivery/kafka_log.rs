//! Offsets of Kafka's log that are not records, and the detection of a recreated topic: on a real Apache Kafka.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use sagas::{
    App, Handle,
    health::Status,
    id::IdSource,
    kafka::{Kafka, KafkaConfig},
    prelude::*,
    settings::OnGap,
    time::Clock,
};
use sagas_tests::{Prefixed, eventually};

use crate::support::{instance::partitions, *};

/// How long the test waits for something that must not happen.
const SILENCE: Duration = Duration::from_secs(8);

/// A topic with two partitions for one test, and the service that reads it.
struct Log {
    prefix: String,
    plan: Plan,
    database: Database,
}

impl Log {
    fn new() -> Self {
        let prefix = format!("log-{}.", IdSource::random().uuid(Clock::system().now()));
        Self { prefix, plan: Plan::done(), database: store::failing(&Database::memory(), &store::Faults::default()) }
    }

    async fn start(&self, on_gap: OnGap) -> Handle {
        let kafka = Kafka::connect(KafkaConfig::new(bootstrap())).await.expect("a Kafka that answers: scripts/kafka start");
        let mut settings = partitions(2);
        (settings.on_gap, settings.stall_warning_s) = (on_gap, 5);
        let service = service(&self.database, &self.plan).handlers(handlers![bare]).settings(settings);
        App::new("shop").service(service).start(Arc::new(Prefixed::new(kafka, &self.prefix))).await.unwrap()
    }

    fn topic(&self) -> String {
        format!("{}orders", self.prefix)
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", bootstrap());
        client
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    /// Returns a producer, with an open transaction if `transactional`.
    fn producer(&self, transactional: bool) -> BaseProducer {
        let mut client = self.client();
        if transactional {
            client.set("transactional.id", &self.prefix);
        }
        let producer: BaseProducer = client.create().unwrap();
        if transactional {
            producer.init_transactions(Duration::from_secs(20)).unwrap();
            producer.begin_transaction().unwrap();
        }
        producer
    }

    /// Sends an order with each of these numbers to each partition. Records of another `kind` have no handler.
    fn send(&self, producer: &BaseProducer, numbers: std::ops::Range<u32>, kind: &str) {
        for (number, partition) in numbers.flat_map(|number| [(number, 0), (number, 1)]) {
            let order = format!("p{partition}");
            let value = format!(r#"{{"order_id":"{order}","number":{number}}}"#);
            let id = format!("{kind}-{order}-{number}");
            let headers = [("ce_id", id.as_str()), ("ce_source", "shop"), ("ce_type", kind)];
            let headers = headers.into_iter().fold(rdkafka::message::OwnedHeaders::new(), |all, (key, value)| {
                all.insert(rdkafka::message::Header { key, value: Some(value) })
            });
            let topic = self.topic();
            let record = BaseRecord::to(&topic).partition(partition).key(&order).payload(&value).headers(headers);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    }

    async fn recreate(&self) {
        let (admin, topic) = (self.admin(), self.topic());
        admin.delete_topics(&[&topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        eventually("it is created again", async || {
            let new = NewTopic::new(&topic, 2, TopicReplication::Fixed(1));
            admin.create_topics([&new], &AdminOptions::new()).await.unwrap().remove(0).ok()
        })
        .await;
    }

    /// Returns the numbers of both partitions, sorted.
    fn handled(&self) -> Vec<u32> {
        let mut all: Vec<_> = self.plan.calls().into_iter().map(|(_, number, _)| number).collect();
        all.sort_unstable();
        all
    }

    async fn handles(&self, numbers: &[u32]) {
        let all: Vec<_> = numbers.iter().flat_map(|number| [*number, *number]).collect();
        let done = eventually("all is handled", async || (self.handled() == all).then_some(()));
        done.await;
    }
}

fn bootstrap() -> String {
    std::env::var("SAGAS_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:9092".to_owned())
}

/// Returns how many records are readable and not done, and how many offsets wait behind open transactions.
async fn lag(handle: &Handle) -> (i64, i64) {
    let report = handle.service("payments").unwrap().health().report().await;
    let number = |name: &str| report.checks["lag"].values.get(name).and_then(serde_json::Value::as_i64).unwrap_or(-1);
    (number("records"), number("behindOpenTransactions"))
}

async fn lag_becomes(handle: &Handle, expected: (i64, i64)) {
    eventually("the lag", async || (lag(handle).await == expected).then_some(())).await;
}

async fn is_well(handle: &Handle) {
    let report = handle.service("payments").unwrap().health().report().await;
    for check in ["conditions", "consumer"] {
        let conditions = report.checks["conditions"].values["conditions"].to_string();
        assert!(report.checks[check].status == Status::Up || conditions.contains("topic_setting"), "{report:?}");
        assert!(!conditions.contains("partition_stalled") && !conditions.contains("topic_identity_unknown"), "{conditions}");
    }
    assert_eq!(report.checks["consumer"].detail, None);
}

async fn complains(handle: &Handle) {
    let said = "the topic was deleted and created again";
    eventually("it says so", async || {
        let ready = handle.service("payments").unwrap().health().ready().await;
        ready.checks["consumer"].detail.as_ref().is_some_and(|detail| detail.contains(said)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn ends_of_transactions_are_no_missing_records_and_in_no_lag() {
    let log = Log::new();
    let handle = log.start(OnGap::Stop).await;
    let producer = log.producer(true);
    log.send(&producer, 1..2, "Placed");
    producer.commit_transaction(Duration::from_secs(20)).unwrap();
    log.handles(&[1]).await;
    lag_becomes(&handle, (0, 0)).await;
    // Records of a type without a handler, and records of an aborted transaction.
    producer.begin_transaction().unwrap();
    log.send(&producer, 2..5, "Else");
    producer.commit_transaction(Duration::from_secs(20)).unwrap();
    producer.begin_transaction().unwrap();
    log.send(&producer, 5..9, "Placed");
    producer.abort_transaction(Duration::from_secs(20)).unwrap();
    lag_becomes(&handle, (0, 0)).await;
    tokio::time::sleep(SILENCE).await;
    is_well(&handle).await;
    assert!(handle.stop().await);

    let mut ends = TopicPartitionList::new();
    for partition in 0..2 {
        ends.add_partition_offset(&log.topic(), partition, Offset::End).unwrap();
    }
    log.admin().delete_records(&ends, &AdminOptions::new()).await.unwrap();
    let handle = log.start(OnGap::Stop).await;
    log.send(&log.producer(false), 9..10, "Placed");
    log.handles(&[1, 9]).await;
    is_well(&handle).await;
    assert!(handle.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn what_waits_behind_an_open_transaction_is_shown_apart() {
    let log = Log::new();
    let handle = log.start(OnGap::Stop).await;
    let (open, other) = (log.producer(true), log.producer(false));
    log.send(&other, 0..1, "Placed");
    log.handles(&[0]).await;
    log.send(&open, 1..2, "Placed");
    log.send(&other, 2..6, "Placed");
    lag_becomes(&handle, (0, 10)).await;
    tokio::time::sleep(SILENCE).await;
    assert_eq!((lag(&handle).await, log.handled()), ((0, 10), vec![0, 0]));
    let shown = metric(handle.service("payments").unwrap(), "sagas_records_behind_open_transactions", "topic=\"orders\"");
    assert_eq!(shown, 10.0);
    open.commit_transaction(Duration::from_secs(20)).unwrap();
    log.handles(&[0, 1, 2, 3, 4, 5]).await;
    lag_becomes(&handle, (0, 0)).await;
    assert!(handle.stop().await);
}

/// A replay goes back over offsets that the client skipped, and they are skipped again without losing a record.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_replay_over_ends_of_transactions_leaves_nothing_out() {
    let log = Log::new();
    let handle = log.start(OnGap::Stop).await;
    let producer = log.producer(true);
    for number in 0..20 {
        log.send(&producer, number..number + 1, "Placed");
        match number % 3 {
            0 => producer.abort_transaction(Duration::from_secs(20)).unwrap(),
            _ => producer.commit_transaction(Duration::from_secs(20)).unwrap(),
        }
        producer.begin_transaction().unwrap();
    }
    producer.abort_transaction(Duration::from_secs(20)).unwrap();
    let mut expected: Vec<_> = (0..20).filter(|number| number % 3 != 0).collect();
    log.handles(&expected).await;
    lag_becomes(&handle, (0, 0)).await;
    let payments = handle.service("payments").unwrap();
    let mut request = sagas::replay::ReplayRequest::new("orders", sagas::replay::ReplayPoint::Offset(0));
    request.again = true;
    for _ in 0..3 {
        payments.replay(&request).await.unwrap();
        eventually("it is over", async || payments.replays(true, 9).await.unwrap().is_empty().then_some(())).await;
        expected.extend((0..20).filter(|number| number % 3 != 0));
        let mut sorted = expected.clone();
        sorted.sort_unstable();
        log.handles(&sorted).await;
    }
    lag_becomes(&handle, (0, 0)).await;
    assert!(handle.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_topic_made_anew_while_the_service_is_stopped_is_noticed_though_it_is_longer() {
    let log = Log::new();
    let handle = log.start(OnGap::Stop).await;
    log.send(&log.producer(false), 0..12, "Placed");
    log.handles(&(0..12).collect::<Vec<_>>()).await;
    assert!(handle.stop().await);
    log.recreate().await;
    log.send(&log.producer(false), 100..130, "Placed");
    let handle = log.start(OnGap::Stop).await;
    complains(&handle).await;
    tokio::time::sleep(SILENCE).await;
    assert_eq!(log.handled().len(), 24, "nothing is read");
    assert!(handle.stop().await);
    let handle = log.start(OnGap::Oldest).await;
    log.handles(&(0..12).chain(100..130).collect::<Vec<_>>()).await;
    is_well(&handle).await;
    lag_becomes(&handle, (0, 0)).await;
    assert!(handle.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_topic_made_anew_while_the_service_runs_is_noticed_and_read() {
    for count in [3, 40] {
        let log = Log::new();
        let handle = log.start(OnGap::Oldest).await;
        log.send(&log.producer(false), 0..12, "Placed");
        log.handles(&(0..12).collect::<Vec<_>>()).await;
        log.recreate().await;
        log.send(&log.producer(false), 100..100 + count, "Placed");
        let mut all: Vec<_> = (0..12).chain(100..100 + count).collect();
        log.handles(&all).await;
        log.send(&log.producer(false), 500..505, "Placed");
        all.extend(500..505);
        log.handles(&all).await;
        lag_becomes(&handle, (0, 0)).await;
        is_well(&handle).await;
        assert!(handle.stop().await);
    }
}
