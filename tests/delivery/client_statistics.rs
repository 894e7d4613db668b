//! The statistics of the log's clients are among the metrics of a service.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use sagas::{
    message::Record,
    port::transport::{ClientStatistics, GroupLag, Position, Subscription, TopicSpec, Transport},
    prelude::*,
    testing::Pump,
    transport::{TransportError, memory::Memory},
};

use crate::support::*;

/// A log with a client that reports how many messages wait in it.
struct WithClient {
    log: Memory,
    queued: AtomicU64,
}

#[async_trait]
impl Transport for WithClient {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.log.ensure_topics(topics).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        self.log.publish(records).await
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

    fn statistics(&self) -> Vec<ClientStatistics> {
        let queued_records = self.queued.load(Ordering::SeqCst);
        vec![ClientStatistics { group: Some("payments".to_owned()), queued_records, ..ClientStatistics::default() }]
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

#[tokio::test]
async fn they_are_asked_again_and_again() {
    let clock = clock();
    let log = Arc::new(WithClient { log: Memory::with_clock(clock.clone()), queued: AtomicU64::new(3) });
    let service = Service::new("payments", Database::memory());
    let pump = Pump::of([service]).on(log.clone()).clock(clock.clone()).start().await;
    let queued = || metric(pump.service("payments"), "sagas_client_queued_records", "client=\"consumer\"");
    until("the first answer", async || queued() == 3.0).await;

    log.queued.store(8, Ordering::SeqCst);
    advance_until(&clock, "the next answer", async || queued() == 8.0).await;
    pump.stop().await;
}
