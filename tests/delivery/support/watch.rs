//! Counts the bytes of messages in memory: messages that a log or a store has returned and that are still referenced.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use sagas::{
    message::{Received, Record, TopicPartition},
    port::transport::{Delivery, GroupLag, Position, Subscription, TopicSpec, Transport},
    transport::TransportError,
};

/// The watched messages. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watch(Arc<AtomicUsize>);

/// The value of a message, which exists as long as a record references it.
struct Held {
    value: Vec<u8>,
    /// The size of the message in bytes.
    size: usize,
    all: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.value
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.size, Ordering::SeqCst);
    }
}

impl Watch {
    /// Replaces the value of `received` by a copy, and watches the copy: the owner of the original may keep it.
    pub fn watch(&self, received: &mut Received) {
        let size = received.record.size();
        let record = Arc::make_mut(&mut received.record);
        record.value = record.value.take().map(|value| {
            self.0.fetch_add(size, Ordering::SeqCst);
            Bytes::from_owner(Held { value: value.to_vec(), size, all: self.0.clone() })
        });
    }

    /// Returns the size of the messages that still exist, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
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
