//! A topic that accepts no records delays no other topic.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use sagas::{
    App, Settings,
    message::Record,
    port::transport::{GroupLag, Position, Subscription, TopicSpec, Transport},
    prelude::*,
    testing::Pump,
    transport::{TransportError, memory::Memory},
};
use sagas_tests::eventually;

use crate::support::*;

/// A log that stores nothing in the topic `orders` while it is down.
struct OneTopicDown {
    log: Memory,
    down: AtomicBool,
}

#[async_trait]
impl Transport for OneTopicDown {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.log.ensure_topics(topics).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        let mut results = Vec::new();
        for record in records {
            if record.topic == "orders" && self.down.load(Ordering::SeqCst) {
                results.push(Err(TransportError::Unavailable("orders is down".into())));
            } else {
                results.extend(self.log.publish(vec![record]).await);
            }
        }
        results
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        self.log.subscribe(group, topics).await
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        self.log.lag(group, topics).await
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.log.check().await
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

#[tokio::test]
async fn what_other_topics_take_is_sent_meanwhile_and_the_rest_afterwards() {
    const ROWS: u32 = 600; // more than the relay sends at once
    let clock = clock();
    let log = Arc::new(OneTopicDown { log: Memory::with_clock(clock.clone()), down: AtomicBool::new(true) });
    let service = Service::new("payments", Database::memory());
    let pump = Pump::of([service]).on(log.clone()).clock(clock).try_start(&["orders", "payments"]).await.unwrap();

    let mut work = pump.service("payments").begin().await.unwrap();
    for number in 0..ROWS {
        work.publish(&placed(&format!("o{number}"), number)).unwrap();
    }
    work.publish(&Charged { order_id: "a".into(), number: 1 }).unwrap();
    work.commit().await.unwrap();

    // The clock stands still: anything that waited for the failing topic would wait for ever.
    eventually("the event of the other topic", async || (pump.published::<Charged>().await.len() == 1).then_some(())).await;
    assert!(pump.published::<Placed>().await.is_empty());

    log.down.store(false, Ordering::SeqCst);
    settle(&pump, &["payments"]).await;
    assert_eq!(pump.published::<Placed>().await.len(), ROWS as usize);
    pump.stop().await;
}

/// Charges `order_id`, whose topic is healthy, and waits until the event is sent.
async fn charge(pump: &Pump, order_id: &str, number: u32) {
    let mut work = pump.service("payments").begin().await.unwrap();
    work.publish(&Charged { order_id: order_id.to_owned(), number }).unwrap();
    work.commit().await.unwrap();
    eventually("the event of the other topic", async || (pump.published::<Charged>().await.len() as u32 == number).then_some(()))
        .await;
}

async fn left(database: &Database) -> usize {
    database.store().outbox("payments", 0, 1_000).await.unwrap().len()
}

#[tokio::test]
async fn what_commits_while_a_topic_waits_is_sent_and_removed_at_once() {
    for database in databases().await {
        let clock = clock();
        let log = Arc::new(OneTopicDown { log: Memory::with_clock(clock.clone()), down: AtomicBool::new(true) });
        let service = Service::new("payments", database.clone());
        let pump = Pump::of([service]).on(log.clone()).clock(clock).try_start(&["orders", "payments"]).await.unwrap();
        let mut work = pump.service("payments").begin().await.unwrap();
        work.publish(&placed("a", 1)).unwrap();
        work.commit().await.unwrap();

        // The clock stands still, so the topic stays in its wait for the next attempt.
        for number in 1..=20 {
            charge(&pump, "a", number).await;
        }
        eventually("what was sent is removed", async || (left(&database).await == 1).then_some(())).await;

        log.down.store(false, Ordering::SeqCst);
        settle(&pump, &["payments"]).await;
        assert_eq!(pump.published::<Placed>().await.len(), 1);
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_stop_waits_for_a_failing_topic_no_longer_than_it_may() {
    let database = Database::memory();
    let clock = clock();
    let log = Arc::new(OneTopicDown { log: Memory::with_clock(clock.clone()), down: AtomicBool::new(true) });
    log.ensure_topics(&[TopicSpec { name: "orders".to_owned(), partitions: 1 }]).await.unwrap();
    let mut settings = Settings::default();
    settings.stop_timeout_ms = 500;
    let service = Service::new("payments", database.clone()).settings(settings);
    let handle = App::new("shop").service(service).clock(clock).start(log).await.unwrap();
    let mut work = handle.service("payments").unwrap().begin().await.unwrap();
    work.publish(&placed("a", 1)).unwrap();
    work.commit().await.unwrap();
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(10), handle.stop()).await;
    assert_eq!(stopped, Ok(false), "it says that not everything was sent");
    assert_eq!(left(&database).await, 1);
}
