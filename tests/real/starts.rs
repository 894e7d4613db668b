//! The start of a service: while no broker can be reached, and where a new one begins to read.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use sagas::{
    Handle,
    health::Status,
    kafka::{Kafka, KafkaConfig},
    prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::log_conditions::Broker;

/// How long the broker and the client may take to notice something.
const SOON: Duration = Duration::from_secs(90);

#[event(topic = "mails", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Wanted {
    id: String,
    number: u32,
}

/// Another topic, which a later program of a service handles too.
#[event(topic = "letters", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Written {
    id: String,
    number: u32,
}

/// What was handled, in order.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<u32>>>);

impl Sent {
    fn numbers(&self) -> Vec<u32> {
        let mut numbers = self.0.lock().unwrap().clone();
        numbers.sort_unstable();
        numbers
    }
}

#[handler]
async fn send(On(wanted): On<Wanted>, State(sent): State<Sent>) {
    sent.0.lock().unwrap().push(wanted.number);
}

#[handler]
async fn post(On(written): On<Written>, State(sent): State<Sent>) {
    sent.0.lock().unwrap().push(written.number);
}

fn config(broker: &Broker) -> KafkaConfig {
    format!("kafka://{}?session.timeout.ms=6000", broker.address).parse().unwrap()
}

fn app(service: Service) -> App {
    App::new("mail").service(service)
}

async fn publish(handle: &Handle, service: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let mut work = handle.service(service).unwrap().begin().await.unwrap();
        work.publish(&Wanted { id: "a".to_owned(), number }).unwrap();
        work.publish(&Written { id: "a".to_owned(), number: number + 100 }).unwrap();
        work.commit().await.unwrap();
    }
}

async fn soon<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        sleep(Duration::from_millis(200)).await;
    }
}

async fn rest(handle: &Handle) {
    tokio::time::timeout(SOON, handle.quiet()).await.expect("the services are at rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_service_starts_and_publishes_while_no_broker_can_be_reached() {
    let broker = Broker::start(&[]).await;
    broker.server.run(&["stop"]).await;
    let (folder, sent) = (tempfile::tempdir().unwrap(), Sent::default());
    let service = async || {
        let database = Database::open(&format!("sqlite://{}", folder.path().join("mails.sqlite").display())).await.unwrap();
        let service = Service::new("mailer", database).state(sent.clone());
        service.handlers(handlers![send]).publishes::<Written>()
    };

    let refused = Kafka::connect(config(&broker)).await.err().unwrap().to_string();
    assert!(refused.contains(&format!("no broker can be reached at {}", broker.address)), "{refused}");
    let lazy = || Kafka::connect_lazy(config(&broker)).unwrap();
    let refused = app(service().await).start(lazy()).await.expect_err("by default it does not start").to_string();
    assert!(refused.contains("the topics could not be made") && refused.contains(&broker.address), "{refused}");

    let began = Instant::now();
    let handle = app(service().await).allow_unreachable_log(true).start(lazy()).await.unwrap();
    println!("started without a broker in {:.1?}", began.elapsed());
    publish(&handle, "mailer", 0..3).await;
    let ready = || async { handle.service("mailer").unwrap().health().ready().await };
    soon("the condition", || async {
        let conditions = ready().await.checks["conditions"].values["conditions"].to_string();
        conditions.contains("log_unreachable") && conditions.contains(&broker.address)
    })
    .await;
    assert_eq!(ready().await.status, Status::Down);

    // It stops as well, and what it has published is kept.
    let began = Instant::now();
    handle.stop().await;
    println!("stopped without a broker in {:.1?}", began.elapsed());
    assert!(began.elapsed() < SOON, "stopped after {:?}", began.elapsed());
    let handle = app(service().await).allow_unreachable_log(true).start(lazy()).await.unwrap();
    publish(&handle, "mailer", 3..5).await;
    assert_eq!(sent.numbers(), [0; 0]);

    broker.server.run(&["start"]).await;
    let began = Instant::now();
    soon("all are handled", || async { sent.numbers().len() >= 5 }).await;
    println!("handled {:.1?} after the broker's start", began.elapsed());
    let ready = || async { handle.service("mailer").unwrap().health().ready().await.status };
    soon("ready", || async { ready().await != Status::Down }).await;
    publish(&handle, "mailer", 5..6).await;
    soon("one more", || async { sent.numbers().len() >= 6 }).await;
    rest(&handle).await;
    assert_eq!(*sent.0.lock().unwrap(), [0, 1, 2, 3, 4, 5], "each once, and in order");
    assert!(handle.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_new_service_begins_at_the_oldest_record_or_where_its_group_was_set() {
    const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let broker = Broker::start(&[]).await;
    let kafka = || async { Kafka::connect(config(&broker)).await.unwrap() };
    let shop = Service::new("shop", Database::memory()).publishes::<Wanted>().publishes::<Written>();
    let shop = app(shop).start(kafka().await).await.unwrap();
    publish(&shop, "shop", 0..5).await;
    rest(&shop).await;
    // The tool takes a time to the millisecond, and the records have the clock of this machine.
    sleep(Duration::from_secs(2)).await;
    let time = time_of_now().await;
    sleep(Duration::from_secs(2)).await;
    publish(&shop, "shop", 5..10).await;
    rest(&shop).await;

    let start = async |name: &str, database: &Database, both: bool| {
        let sent = Sent::default();
        let service = Service::new(name, database.clone()).state(sent.clone()).handlers(handlers![send]);
        let service = if both { service.handlers(handlers![post]) } else { service };
        (app(service).start(kafka().await).await.unwrap(), sent)
    };
    let handles = async |name: &str, database: &Database, both: bool, wanted: &[u32]| {
        let (handle, sent) = start(name, database, both).await;
        soon(&format!("{name} handles {wanted:?}"), || async { sent.numbers().len() >= wanted.len() }).await;
        rest(&handle).await;
        assert_eq!(sent.numbers(), wanted, "{name}");
        handle.stop().await;
    };

    // From the oldest record.
    let oldest = Database::memory();
    handles("oldest", &oldest, false, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).await;

    // From a time, and from the end.
    let reset = ["--topic", "mails", "--reset-offsets", "--execute"];
    broker.tool(GROUPS, &[&["--group", "timed"], &reset[..], &["--to-datetime", &time]].concat()).await;
    handles("timed", &Database::memory(), false, &[5, 6, 7, 8, 9]).await;
    let shown = broker.tool(GROUPS, &[&["--group", "end"], &reset[..], &["--to-latest"]].concat()).await;
    println!("{shown}");
    let end = Database::memory();
    let (handle, sent) = start("end", &end, false).await;
    publish(&shop, "shop", 10..12).await;
    soon("what is published now is handled", || async { sent.numbers().len() >= 2 }).await;
    rest(&handle).await;
    assert_eq!(sent.numbers(), [10, 11]);
    handle.stop().await;

    // Once the database has offsets, the group's do not count.
    broker.tool(GROUPS, &[&["--group", "end"], &reset[..], &["--to-earliest"]].concat()).await;
    publish(&shop, "shop", 12..13).await;
    handles("end", &end, false, &[12]).await;

    // A topic that is new for a service is read from its oldest record.
    let letters: Vec<u32> = (100..113).collect();
    handles("end", &end, true, &letters).await;
    assert!(shop.stop().await);
}

/// Returns the time now as Kafka's tool reads it.
async fn time_of_now() -> String {
    let output = tokio::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.000"]).output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
