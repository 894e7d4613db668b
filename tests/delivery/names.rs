//! Topics with another name in the deployment than in the code.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sagas::{
    App, Settings, TopicNames,
    health::Status,
    message::{Received, headers},
    port::transport::{Delivery, Subscription, Transport},
    prelude::*,
    replay::{ReplayPoint, ReplayRequest},
    settings::OnGap,
    testing::Pump,
    transport::{
        embedded::{Embedded, EmbeddedOptions},
        memory::Memory,
    },
};

use crate::support::*;

fn names() -> TopicNames {
    TopicNames::prefixed("prod.").with("orders", "team-a.orders.v1")
}

/// Opens a log of each kind that needs no server.
async fn logs(folder: &tempfile::TempDir) -> [Arc<dyn Transport>; 2] {
    [Arc::new(Memory::with_clock(clock())), Embedded::open(folder.path(), EmbeddedOptions::default()).await.unwrap()]
}

/// Reads every record of `topic`, by its name in the log.
async fn read(log: &dyn Transport, topic: &str) -> Vec<Received> {
    let topics = [topic.to_owned()];
    let ends: i64 = log.offsets(topic, None).await.unwrap().iter().map(|of| of.end - of.oldest).sum();
    let group = format!("reader-of-{topic}");
    let mut reader: Box<dyn Subscription> = log.subscribe(&group, &topics).await.unwrap();
    let mut all = Vec::new();
    while all.len() < usize::try_from(ends).unwrap() {
        match reader.next().await.unwrap() {
            Delivery::Assigned(partitions) => reader.start(&partitions.into_iter().map(|at| (at, None)).collect::<Vec<_>>()),
            Delivery::Records { partition, records } => {
                assert_eq!(partition.topic, topic);
                all.extend(records);
            }
            _ => {}
        }
    }
    reader.close().await;
    all
}

fn dying() -> Plan {
    Plan::new(|placed, _| if placed.number == 0 { Step::Dead } else { Step::Done })
}

#[tokio::test]
async fn the_log_has_the_names_of_the_deployment_and_the_service_those_of_the_code() {
    let folder = tempfile::tempdir().unwrap();
    for log in logs(&folder).await {
        let (database, plan) = (sqlite().await, dying());
        let service = service(&database, &plan).handlers(handlers![bare]);
        let pump = Pump::of([service]).on(log.clone()).topics(names()).start().await;
        pump.publish(&placed("a", 0)).await;
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        assert_eq!(plan.numbers("a"), [0, 1]);
        assert_eq!(pump.published::<Charged>().await.len(), 1);

        // In the log, by the names of the deployment.
        assert_eq!(read(&*log, "team-a.orders.v1").await.len(), 2);
        assert_eq!(read(&*log, "prod.payments").await.len(), 1);
        let copy = &read(&*log, "prod.payments.dlt").await[0];
        assert_eq!(copy.record.header(headers::DLT_TOPIC), Some("team-a.orders.v1"));
        for unnamed in ["orders", "payments", "payments.dlt", "prod.orders"] {
            assert!(log.offsets(unnamed, None).await.is_err(), "{unnamed}");
        }
        let lag = log.lag("payments", &["team-a.orders.v1".to_owned()]).await.unwrap();
        assert_eq!(lag.iter().map(|lag| lag.committed).sum::<i64>(), 2, "{lag:?}");

        // In the service, by the names of the code.
        let payments = pump.service("payments");
        let (letters, _) = payments.dead_letters(0, 10).await.unwrap();
        assert_eq!(letters[0].received.record.topic, "orders");
        let lag = async || metric(payments, "sagas_consumer_lag_records", "topic=\"orders\"") == 0.0;
        advance_until(pump.clock(), "metrics have the names of the code", lag).await;
        let mut request = ReplayRequest::new("orders", ReplayPoint::Offset(letters[0].received.offset));
        (request.partition, request.again) = (Some(letters[0].received.partition), true);
        let planned = payments.replay(&request).await.unwrap();
        assert_eq!((planned[0].partition.topic.as_str(), planned[0].to - planned[0].from), ("orders", 2));
        advance_until(pump.clock(), "the range was read once more", async || plan.numbers("a").len() == 4).await;
        pump.stop().await;
        log.close().await;
    }
}

#[tokio::test]
async fn a_topic_that_gets_another_name_is_another_log() {
    let (database, clock, away) = (sqlite().await, clock(), Arc::new(AtomicBool::new(true)));
    let is_away = away.clone();
    let plan = Plan::new(move |placed, _| match placed.number == 13 && is_away.load(Ordering::SeqCst) {
        true => Step::Later(Duration::from_secs(1)),
        false => Step::Done,
    });
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let start = |seed, names: TopicNames, on_gap| {
        let mut settings = Settings::default();
        (settings.on_gap, settings.topic_partitions) = (on_gap, 1);
        let service = service(&database, &plan).handlers(handlers![bare]).settings(settings);
        Pump::of([service]).on(log.clone()).clock(clock.clone()).topics(names).seed(seed).start()
    };
    let pump = start(1, TopicNames::default(), OnGap::Stop).await;
    pump.publish(&placed("a", 1)).await;
    pump.publish(&placed("b", 13)).await;
    pump.run_until_quiet().await;
    advance_until(&clock, "the applied offset is in the database", async || {
        let owned = database.store().replays().partitions("payments").await.unwrap();
        owned.iter().any(|owned| owned.partition.topic == "orders" && owned.applied == Some(2) && owned.log.is_some())
    })
    .await;
    drop(pump);

    // The new topic has copies of the handled records, and more records.
    let copies: Vec<_> = read(&*log, "orders").await;
    let pump = start(2, names(), OnGap::Stop).await;
    for copy in copies {
        pump.publish_record((*copy.record).clone()).await;
    }
    pump.publish(&placed("a", 2)).await;
    let service = pump.service("payments").clone();
    advance_until(&clock, "the service says that it is another log", async || {
        let report = service.health().ready().await;
        let detail = report.checks["consumer"].detail.clone().unwrap_or_default();
        report.status == Status::Down && detail.contains("team-a.orders.v1-0: the topic was deleted and created again")
    })
    .await;
    // A message that was parked under the previous name is handled.
    away.store(false, Ordering::SeqCst);
    let parked = async || !database.store().parked_keys("payments").await.unwrap().is_empty();
    advance_until(&clock, "what was parked is handled", async || !parked().await).await;
    let of_b = plan.numbers("b").len();
    assert_eq!(plan.numbers("a"), [1]);
    drop(pump);

    let pump = start(3, names(), OnGap::Oldest).await;
    advance_until(&clock, "the new one is read from its beginning", async || plan.numbers("a") == [1, 2]).await;
    assert_eq!(plan.numbers("b").len(), of_b, "the inbox knows the copy");
    pump.stop().await;
}

#[tokio::test]
async fn topics_that_cannot_be_called_so_are_told_before_anything_starts() {
    let app = |name: &str, names: TopicNames| {
        let service = Service::new("payments", Database::memory()).state(Plan::done()).handlers(handlers![bare]);
        App::new(name).service(service).topics(names).check()
    };
    assert_eq!(app("shop", names()), [""; 0]);
    assert_eq!(
        app("shop", TopicNames::prefixed("prod.").with("orders", "prod.payments.dlt")),
        ["the topics `orders` and `payments.dlt` are both called `prod.payments.dlt` in the log: give one another name \
          (`App::topics`)"]
    );
    let problems = app("shop", TopicNames::prefixed("prod/"));
    assert!(problems.len() == 3 && problems[0].contains("`orders` is called `prod/orders` in the log"), "{problems:?}");
    let problems = app("my shop", TopicNames::default());
    assert!(problems.len() == 1 && problems[0].starts_with("`my shop` cannot name an app"), "{problems:?}");
}

#[tokio::test]
async fn what_the_log_cannot_take_is_told_by_its_name() {
    let (database, clock) = (Database::memory(), clock());
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let service = service(&database, &Plan::done()).handlers(handlers![bare]);
    let names = TopicNames::prefixed("prod.");
    let pump = Pump::of([service]).on(log).clock(clock.clone()).topics(names).start().await;
    pump.advance(Duration::from_secs(1)).await;
    let error =
        pump.service("payments").plan_replay(&ReplayRequest::new("prod.orders", ReplayPoint::Offset(0))).await.unwrap_err();
    assert!(error.to_string().contains("this service handles no topic `prod.orders`; it handles orders"), "{error}");
    pump.stop().await;
}
