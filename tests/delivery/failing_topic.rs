//! A topic that takes nothing holds up no other.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use sagas::{
    message::Record,
    prelude::*,
    testing::Pump,
    transport::{GroupLag, Position, Subscription, TopicSpec, Transport, TransportError, memory::Memory},
};
use sagas_tests::eventually;

use crate::support::*;

/// A log that stores nothing of the topic `orders` while it is down.
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

    // The clock stands still: whatever waited for the topic that is down would wait for ever.
    eventually("the event of the other topic", async || (pump.published::<Charged>().await.len() == 1).then_some(())).await;
    assert!(pump.published::<Placed>().await.is_empty());

    log.down.store(false, Ordering::SeqCst);
    settle(&pump, &["payments"]).await;
    assert_eq!(pump.published::<Placed>().await.len(), ROWS as usize);
    pump.stop().await;
}
