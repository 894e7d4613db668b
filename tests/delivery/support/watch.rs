//! Counts the bytes of messages in memory: those that came from a log or a store and that somebody still has.

use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sagas::{
    message::{Received, Record},
    transport::{Delivery, GroupLag, Position, Subscription, TopicPartition, TopicSpec, Transport, TransportError},
};

/// Messages that are watched. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Vec<Weak<Record>>>>);

impl Watch {
    /// Gives `received` a record of its own, and watches it: whoever gave the record may keep it.
    pub fn watch(&self, received: &mut Received) {
        let mut record = (*received.record).clone();
        record.value = record.value.map(|value| value.to_vec().into());
        received.record = Arc::new(record);
        self.0.lock().unwrap().push(Arc::downgrade(&received.record));
    }

    /// Bytes of the messages that are still there.
    pub fn bytes(&self) -> usize {
        let mut watched = self.0.lock().unwrap();
        watched.retain(|record| record.strong_count() > 0);
        watched.iter().filter_map(Weak::upgrade).map(|record| record.size()).sum()
    }
}

/// A log whose deliveries are watched.
pub struct Watched {
    pub inner: Arc<dyn Transport>,
    pub delivered: Watch,
}

struct WatchedSubscription {
    inner: Box<dyn Subscription>,
    delivered: Watch,
}

#[async_trait]
impl Transport for Watched {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.inner.ensure_topics(topics).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        self.inner.publish(records).await
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        let inner = self.inner.subscribe(group, topics).await?;
        Ok(Box::new(WatchedSubscription { inner, delivered: self.delivered.clone() }))
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        self.inner.lag(group, topics).await
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.inner.check().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl Subscription for WatchedSubscription {
    async fn next(&mut self) -> Result<Delivery, TransportError> {
        let mut delivery = self.inner.next().await?;
        if let Delivery::Records { records, .. } = &mut delivery {
            records.iter_mut().for_each(|received| self.delivered.watch(received));
        }
        Ok(delivery)
    }

    fn start(&mut self, from: &[(TopicPartition, Option<i64>)]) {
        self.inner.start(from);
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.inner.resume(partitions);
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, Result<(), TransportError>> {
        self.inner.commit(offsets)
    }

    fn release(&mut self, partitions: &[TopicPartition]) {
        self.inner.release(partitions);
    }

    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}
