//! A lasting problem with reading or writing Apache Kafka is in health by name, with the topic, the cause and the fix, and ends
//! by itself when the cause is removed.

use std::{
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use sagas::{
    App, Handle, Settings, StartError,
    health::Status,
    kafka::{Kafka, KafkaConfig},
    port::transport::Transport as _,
    prelude::*,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::{
    process::Command,
    sync::MutexGuard,
    time::{Instant, sleep},
};

use super::servers::{Server, folder, turn};

/// How long the broker and the client can take to notice a change.
const SOON: Duration = Duration::from_secs(60);

#[event(topic = "orders", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ordered {
    id: String,
}

#[event(topic = "inventory", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reserved {
    id: String,
}

#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

#[handler]
async fn reserve(On(ordered): On<Ordered>) -> Reserved {
    Reserved { id: ordered.id }
}

#[handler]
async fn count(On(_): On<Reserved>, State(count): State<Count>) {
    count.0.fetch_add(1, Ordering::SeqCst);
}

/// A broker for one test.
pub(super) struct Broker {
    pub(super) server: Server,
    pub(super) address: String,
    _folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Broker {
    pub(super) async fn start(settings: &[&str]) -> Self {
        let (turn, folder) = (turn().await, folder());
        let server = Server::new("kafka", folder.path());
        let mut arguments = vec!["start", "--port", "0"];
        settings.iter().for_each(|setting| arguments.extend(["--set", *setting]));
        server.run(&arguments).await;
        let address = server.run(&["address"]).await;
        Self { server, address, _folder: folder, _turn: turn }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    async fn topic(&self, name: &str, settings: &[(&str, &str)]) {
        self.topic_of(name, 2, settings).await;
    }

    async fn topic_of(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        self.admin().create_topics([&topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    }

    async fn alter(&self, topic: &str, name: &str, value: &str) {
        let alter = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
        self.admin().alter_configs([&alter], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    }

    /// Changes the permissions of all users with Kafka's own program.
    async fn rights(&self, arguments: &[&str]) {
        self.tool("org.apache.kafka.tools.AclCommand", arguments).await;
    }

    /// Runs a program of Kafka's own, and returns its output.
    pub(super) async fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let jars = self.server.run(&["jars"]).await;
        let mut command = Command::new("java");
        command.arg("-cp").arg(Path::new(&jars).join("*")).arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error");
        command.args([class, "--bootstrap-server", &self.address]).args(arguments);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{class} {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    async fn try_start_app(&self, counted: &Count, settings: Settings) -> Result<Handle, StartError> {
        let config: KafkaConfig = format!("kafka://{}?session.timeout.ms=6000", self.address).parse().unwrap();
        let service = Service::new("shop", Database::memory()).state(counted.clone());
        let service = service.handlers(handlers![reserve, count]).settings(settings);
        App::new("shop").service(service).start(Kafka::connect(config).await.unwrap()).await
    }
}

/// Returns settings with two partitions for each topic.
fn settings() -> Settings {
    let mut settings = Settings::default();
    (settings.topic_partitions, settings.stall_warning_s) = (2, 10);
    settings
}

async fn order(handle: &Handle, id: &str) {
    let mut work = handle.service("shop").unwrap().begin().await.unwrap();
    work.publish(&Ordered { id: id.to_owned() }).unwrap();
    work.commit().await.unwrap();
}

async fn orders(handle: &Handle, ids: std::ops::Range<usize>) {
    for id in ids {
        order(handle, &format!("o{id}")).await;
    }
}

/// Returns the details of the condition with this name and subject.
async fn detail(handle: &Handle, name: &str, subject: &str) -> Option<String> {
    let report = handle.service("shop").unwrap().health().report().await;
    let all = report.checks["conditions"].values["conditions"].clone();
    let is = |condition: &&serde_json::Value| {
        condition["condition"] == name && condition["subject"].as_str().is_some_and(|known| known.starts_with(subject))
    };
    all.as_array().unwrap().iter().find(is).map(|condition| condition["detail"].as_str().unwrap().to_owned())
}

async fn status(handle: &Handle) -> Status {
    handle.service("shop").unwrap().health().ready().await.status
}

async fn soon<T, F: Future<Output = Option<T>>>(what: &str, handle: &Handle, look: impl Fn() -> F) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        if Instant::now() > deadline {
            panic!("{what} did not come: {:#?}", handle.service("shop").unwrap().health().report().await);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn named(handle: &Handle, name: &str, subject: &str) -> String {
    let detail = soon(&format!("{name} of {subject}"), handle, || detail(handle, name, subject)).await;
    println!("{name} of {subject}: {detail}");
    detail
}

async fn ready(handle: &Handle) {
    soon("ready", handle, || async { (status(handle).await != Status::Down).then_some(()) }).await;
}

async fn counted(handle: &Handle, count: &Count, wanted: usize) {
    soon(&format!("{wanted} events"), handle, || async { (count.0.load(Ordering::SeqCst) >= wanted).then_some(()) }).await;
}

const ALL: [&str; 5] = ["--force", "--allow-principal", "User:ANONYMOUS", "--operation", "All"];
const READ: [&str; 5] = ["--force", "--deny-principal", "User:ANONYMOUS", "--operation", "Read"];
const WRITE: [&str; 5] = ["--force", "--deny-principal", "User:ANONYMOUS", "--operation", "Write"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn rights_that_are_taken_away_are_named_and_it_goes_on_when_they_are_back() {
    let broker = Broker::start(&[
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found=true",
    ])
    .await;
    let count = Count::default();
    let handle = broker.try_start_app(&count, settings()).await.unwrap();
    orders(&handle, 0..4).await;
    counted(&handle, &count, 4).await;
    ready(&handle).await;

    // One permission of a topic is restored at a time; the others stay.
    for (resource, name) in [("--topic", "inventory"), ("--topic", "orders"), ("--group", "shop")] {
        broker.rights(&[&["--add", resource, name][..], &ALL].concat()).await;
    }

    // The check of the settings reports that it cannot be made.
    let configs =
        ["--add", "--topic", "inventory", "--force", "--deny-principal", "User:ANONYMOUS", "--operation", "DescribeConfigs"];
    broker.rights(&configs).await;
    let other = broker.try_start_app(&Count::default(), settings()).await.unwrap();
    let text = named(&other, "topic_setting", "inventory DescribeConfigs").await;
    assert!(text.contains("grant DescribeConfigs") && text.contains("cleanup.policy=compact"), "{text}");
    assert_eq!((detail(&other, "topic_setting", "orders").await, status(&other).await), (None, Status::Degraded));
    assert!(other.stop().await);
    broker.rights(&[&["--remove"], &configs[1..]].concat()).await;

    broker.rights(&[&["--add", "--topic", "inventory"][..], &READ].concat()).await;
    orders(&handle, 4..8).await;
    let text = named(&handle, "not_authorized", "inventory").await;
    assert!(text.contains("may not read the topic `inventory`") && text.contains("grant Read"), "{text}");
    assert_eq!(status(&handle).await, Status::Down);
    assert_eq!(detail(&handle, "not_authorized", "orders").await, None);
    broker.rights(&[&["--remove", "--topic", "inventory"][..], &READ].concat()).await;
    ready(&handle).await;
    counted(&handle, &count, 8).await;

    broker.rights(&[&["--add", "--topic", "inventory"][..], &WRITE].concat()).await;
    orders(&handle, 8..12).await;
    let text = named(&handle, "topic_unwritable", "inventory").await;
    assert!(text.contains("4 records wait in the outbox") && text.contains("Write"), "{text}");
    assert_eq!(status(&handle).await, Status::Down);
    broker.rights(&[&["--remove", "--topic", "inventory"][..], &WRITE].concat()).await;
    ready(&handle).await;
    counted(&handle, &count, 12).await;

    broker.rights(&[&["--add", "--group", "shop"][..], &READ].concat()).await;
    let text = named(&handle, "group_refused", "shop").await;
    assert!(text.contains("group `shop`") && text.contains("grant Read"), "{text}");
    assert_eq!(status(&handle).await, Status::Down);
    broker.rights(&[&["--remove", "--group", "shop"][..], &READ].concat()).await;
    ready(&handle).await;
    orders(&handle, 12..16).await;
    counted(&handle, &count, 16).await;

    // A topic without any permission, not even to describe it.
    broker.rights(&[&["--remove", "--topic", "inventory"][..], &ALL].concat()).await;
    broker.rights(&[&["--add", "--topic", "inventory"][..], &READ].concat()).await;
    let text = named(&handle, "not_authorized", "inventory").await;
    assert!(text.contains("inventory"), "{text}");
    assert_eq!(status(&handle).await, Status::Down);
    broker.rights(&[&["--remove", "--topic", "inventory"][..], &READ].concat()).await;
    ready(&handle).await;
    orders(&handle, 16..20).await;
    counted(&handle, &count, 20).await;
    assert!(handle.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_topic_that_is_deleted_is_named_until_it_is_back() {
    let broker = Broker::start(&["auto.create.topics.enable=false"]).await;
    let count = Count::default();
    let handle = broker.try_start_app(&count, settings()).await.unwrap();
    ready(&handle).await;
    broker.admin().delete_topics(&["inventory"], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let text = named(&handle, "topic_missing", "inventory").await;
    assert!(text.contains("no topic `inventory`") && text.contains("create it again"), "{text}");
    assert_eq!(status(&handle).await, Status::Down);
    broker.topic("inventory", &[]).await;
    ready(&handle).await;
    orders(&handle, 0..4).await;
    counted(&handle, &count, 4).await;

    // Once the group has committed what was read, the database has it too, so the service reports that it is another topic.
    let log = Kafka::connect(format!("kafka://{}", broker.address).parse().unwrap()).await.unwrap();
    soon("commits of what was read", &handle, || async {
        let lags = log.lag("shop", &["inventory".to_owned()]).await.unwrap();
        let (ends, committed): (i64, i64) = (lags.iter().map(|lag| lag.end).sum(), lags.iter().map(|lag| lag.committed).sum());
        (ends == 4 && committed == ends).then_some(())
    })
    .await;
    log.close().await;
    broker.admin().delete_topics(&["inventory"], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    named(&handle, "topic_missing", "inventory").await;
    broker.topic("inventory", &[]).await;
    let text = soon("the gap", &handle, || async {
        let ready = handle.service("shop").unwrap().health().ready().await;
        ready.checks["consumer"].detail.clone().filter(|detail| detail.contains("deleted and created again"))
    })
    .await;
    assert!(text.contains("inventory-") && text.contains("on_gap"), "{text}");
    assert!(handle.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn the_others_are_read_while_a_topic_is_gone_and_it_gets_the_partitions_that_it_had() {
    let broker = Broker::start(&["auto.create.topics.enable=false"]).await;
    broker.topic_of("inventory", 5, &[]).await;
    let count = Count::default();
    let handle = broker.try_start_app(&count, settings()).await.unwrap();
    ready(&handle).await;
    broker.admin().delete_topics(&["inventory"], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    named(&handle, "topic_missing", "inventory").await;
    // Handling `orders` publishes events to `inventory`, which creates the topic.
    orders(&handle, 0..8).await;
    counted(&handle, &count, 8).await;
    let consumer: BaseConsumer = broker.config().create().unwrap();
    let partitions = tokio::task::spawn_blocking(move || {
        let metadata = consumer.fetch_metadata(Some("inventory"), Duration::from_secs(10)).unwrap();
        metadata.topics()[0].partitions().len()
    });
    assert_eq!(partitions.await.unwrap(), 5);
    ready(&handle).await;
    assert!(handle.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn dead_letters_of_every_partition_are_published_to_a_topic_that_has_one() {
    let broker = Broker::start(&[]).await;
    broker.topic_of("orders", 6, &[]).await;
    broker.topic_of("shop.dlt", 1, &[]).await;
    let handle = broker.try_start_app(&Count::default(), settings()).await.unwrap();
    let producer: BaseProducer = broker.config().create().unwrap();
    for partition in 0..6 {
        let key = format!("k{partition}");
        let record = BaseRecord::to("orders").partition(partition).key(&key).payload("nonsense");
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(20)).unwrap()).await.unwrap();
    let consumer: Arc<BaseConsumer> = Arc::new(broker.config().create().unwrap());
    soon("six records of dead letters", &handle, || async {
        let consumer = Arc::clone(&consumer);
        let ends = move || consumer.fetch_watermarks("shop.dlt", 0, Duration::from_secs(10));
        tokio::task::spawn_blocking(ends).await.unwrap().is_ok_and(|(_, end)| end == 6).then_some(())
    })
    .await;
    let (letters, count) = handle.service("shop").unwrap().dead_letters(0, 10).await.unwrap();
    let mut partitions: Vec<_> = letters.iter().map(|letter| letter.received.partition).collect();
    partitions.sort_unstable();
    assert_eq!((partitions, count), ((0..6).collect(), 6));
    assert!(letters.iter().all(|letter| letter.unpublished.is_none()), "{letters:?}");
    assert!(handle.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn zstd_is_read_foreign_members_and_open_transactions_are_named() {
    let broker = Broker::start(&[]).await;
    broker.topic("inventory", &[("compression.type", "zstd")]).await;
    let count = Count::default();
    let handle = broker.try_start_app(&count, settings()).await.unwrap();
    orders(&handle, 0..20).await;
    counted(&handle, &count, 20).await;
    ready(&handle).await;

    // Records behind an open transaction of another producer, on every partition.
    let producer: BaseProducer = {
        let mut config = broker.config();
        config.set("transactional.id", "foreign").set("transaction.timeout.ms", "50000").create().unwrap()
    };
    let opened = tokio::task::spawn_blocking(move || {
        producer.init_transactions(Duration::from_secs(20)).unwrap();
        producer.begin_transaction().unwrap();
        for partition in 0..2 {
            producer
                .send(BaseRecord::<(), str>::to("orders").partition(partition).payload("{}"))
                .map_err(|(error, _)| error)
                .unwrap();
        }
        producer.flush(Duration::from_secs(20)).unwrap();
        producer
    });
    let producer = opened.await.unwrap();
    orders(&handle, 20..40).await;
    let text = named(&handle, "open_transaction", "orders-").await;
    assert!(text.contains("wait behind a transaction"), "{text}");
    tokio::task::spawn_blocking(move || producer.abort_transaction(Duration::from_secs(20)).unwrap()).await.unwrap();
    counted(&handle, &count, 40).await;
    soon("the end of the transaction", &handle, || async {
        detail(&handle, "open_transaction", "orders-").await.is_none().then_some(())
    })
    .await;

    // Another consumer uses the service's group.
    let mut config = broker.config();
    config
        .set("group.id", "shop")
        .set("client.id", "console-consumer")
        .set("partition.assignment.strategy", "cooperative-sticky");
    config.set("enable.auto.commit", "false");
    let foreign: BaseConsumer = config.create().unwrap();
    foreign.subscribe(&["orders", "inventory"]).unwrap();
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
    let reading = tokio::task::spawn_blocking(move || {
        while stopped.try_recv().is_err() {
            let _ = foreign.poll(Duration::from_millis(50));
        }
    });
    let text = named(&handle, "foreign_member", "console-consumer").await;
    assert!(text.contains("the group `shop` has a member that is no instance"), "{text}");
    assert_eq!(status(&handle).await, Status::Down);
    stop.send(()).unwrap();
    reading.await.unwrap();
    ready(&handle).await;
    assert!(handle.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn settings_of_topics_are_checked_at_the_start_and_told() {
    let broker = Broker::start(&[]).await;
    broker.topic("inventory", &[("cleanup.policy", "compact")]).await;
    broker.topic("orders", &[("retention.ms", "3600000"), ("max.message.bytes", "600")]).await;
    let count = Count::default();
    let refused = broker.try_start_app(&count, settings()).await.expect_err("the start is refused").to_string();
    assert!(
        refused.contains("topic `inventory`: `cleanup.policy` has `compact`") && refused.contains("set it to `delete`"),
        "{refused}"
    );
    broker.alter("inventory", "cleanup.policy", "delete").await;
    let handle = broker.try_start_app(&count, settings()).await.unwrap();
    for setting in ["retention.ms", "max.message.bytes"] {
        let text = named(&handle, "topic_setting", &format!("orders {setting}")).await;
        assert!(text.contains(&format!("`{setting}` is")), "{text}");
    }
    ready(&handle).await;
    assert!(handle.stop().await);
}
