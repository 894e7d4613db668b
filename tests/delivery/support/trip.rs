//! A log that panics on command.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sagas::{
    message::{Record, TopicPartition},
    port::transport::{
        ClientStatistics, Condition, Delivery, GroupLag, Position, Subscription, TopicExpectation, TopicFinding, TopicSpec,
        Transport,
    },
    transport::TransportError,
};

/// The number of panics that are still due for each call. A log, its subscriptions and the test share it.
#[derive(Clone, Default)]
pub struct Trips(Arc<Mutex<Vec<(&'static str, u32)>>>);

impl Trips {
    /// Lets the next `times` calls of `call` panic.
    pub fn set(&self, call: &'static str, times: u32) {
        self.0.lock().unwrap().push((call, times));
    }

    /// Returns whether all requested panics have happened.
    pub fn are_over(&self) -> bool {
        self.0.lock().unwrap().iter().all(|(_, left)| *left == 0)
    }

    /// Returns whether `call` must panic now.
    fn comes(&self, call: &'static str) -> bool {
        let mut trips = self.0.lock().unwrap();
        let trip = trips.iter_mut().find(|(name, left)| *name == call && *left > 0);
        trip.map(|(_, left)| *left -= 1).is_some()
    }

    fn meet(&self, call: &'static str) {
        assert!(!self.comes(call), "the test wants {call} to panic");
    }
}

/// Wraps `log`, which panics as `trips` determines.
pub struct Tripping {
    pub log: Arc<dyn Transport>,
    pub trips: Trips,
}

#[async_trait]
impl Transport for Tripping {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.log.ensure_topics(topics).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        self.trips.meet("publish");
        self.log.publish(records).await
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        self.trips.meet("subscribe");
        let subscription = self.log.subscribe(group, topics).await?;
        Ok(Box::new(TrippingSubscription { subscription, trips: self.trips.clone() }))
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        self.log.lag(group, topics).await
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.log.check().await
    }

    async fn conditions(&self, group: &str, topics: &[String]) -> Result<Vec<Condition>, TransportError> {
        self.trips.meet("conditions");
        self.log.conditions(group, topics).await
    }

    async fn check_topics(&self, topics: &[TopicExpectation]) -> Result<Vec<TopicFinding>, TransportError> {
        self.log.check_topics(topics).await
    }

    fn statistics(&self) -> Vec<ClientStatistics> {
        self.trips.meet("statistics");
        self.log.statistics()
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

struct TrippingSubscription {
    subscription: Box<dyn Subscription>,
    trips: Trips,
}

#[async_trait]
impl Subscription for TrippingSubscription {
    async fn next(&mut self) -> Result<Delivery, TransportError> {
        let delivery = self.subscription.next().await;
        if matches!(delivery, Ok(Delivery::Records { .. })) {
            self.trips.meet("next");
            if self.trips.comes("closed") {
                return Err(TransportError::Closed);
            }
        }
        delivery
    }

    fn start(&mut self, from: &[(TopicPartition, Option<i64>)]) {
        self.trips.meet("start");
        self.subscription.start(from);
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.subscription.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.subscription.resume(partitions);
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, Result<(), TransportError>> {
        self.trips.meet("commit");
        self.subscription.commit(offsets)
    }

    fn release(&mut self, partitions: &[TopicPartition]) {
        self.subscription.release(partitions);
    }

    async fn close(self: Box<Self>) {
        self.subscription.close().await;
    }
}
