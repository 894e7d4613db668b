//! A transport that adds a prefix to topics and groups, so that several shops can share one broker without seeing each other.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sagas::{
    message::{Received, Record, TopicPartition},
    port::transport::{Delivery, GroupLag, PartitionOffsets, Position, Subscription, TopicIdentity, TopicSpec, Transport},
    time::Timestamp,
    transport::TransportError,
};

/// The topics and groups of `inner` whose names begin with `prefix`.
pub struct Prefixed {
    inner: Arc<dyn Transport>,
    prefix: Prefix,
}

#[derive(Clone)]
struct Prefix(Arc<str>);

impl Prefixed {
    /// Creates a view of `inner` with `prefix`.
    pub fn new(inner: Arc<dyn Transport>, prefix: &str) -> Self {
        Self { inner, prefix: Prefix(prefix.into()) }
    }
}

impl Prefix {
    fn put(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }

    fn put_all(&self, names: &[String]) -> Vec<String> {
        names.iter().map(|name| self.put(name)).collect()
    }

    fn take(&self, name: &str) -> String {
        name.strip_prefix(&*self.0).unwrap_or(name).to_owned()
    }

    fn inside(&self, partition: TopicPartition) -> TopicPartition {
        TopicPartition::new(self.take(&partition.topic), partition.partition)
    }

    fn outside(&self, partition: &TopicPartition) -> TopicPartition {
        TopicPartition::new(self.put(&partition.topic), partition.partition)
    }

    fn error(&self, error: TransportError) -> TransportError {
        match error {
            TransportError::UnknownTopic(topic) => TransportError::UnknownTopic(self.take(&topic)),
            other => other,
        }
    }

    fn record(&self, received: Received) -> Received {
        let record = Record { topic: self.take(&received.record.topic), ..(*received.record).clone() };
        Received { record: Arc::new(record), ..received }
    }

    fn delivery(&self, delivery: Delivery) -> Delivery {
        let all = |partitions: Vec<_>| partitions.into_iter().map(|partition| self.inside(partition)).collect();
        match delivery {
            Delivery::Records { partition, records } => Delivery::Records {
                partition: self.inside(partition),
                records: records.into_iter().map(|received| self.record(received)).collect(),
            },
            Delivery::Passed { partition, next } => Delivery::Passed { partition: self.inside(partition), next },
            Delivery::Assigned(partitions) => Delivery::Assigned(all(partitions)),
            Delivery::Revoked(partitions) => Delivery::Revoked(all(partitions)),
            Delivery::Lost(partitions) => Delivery::Lost(all(partitions)),
            Delivery::Gap { partition, wanted, oldest, end } => {
                Delivery::Gap { partition: self.inside(partition), wanted, oldest, end }
            }
        }
    }
}

#[async_trait]
impl Transport for Prefixed {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        let topics: Vec<_> =
            topics.iter().map(|topic| TopicSpec { name: self.prefix.put(&topic.name), partitions: topic.partitions }).collect();
        self.inner.ensure_topics(&topics).await
    }

    async fn publish(&self, mut records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        for record in &mut records {
            record.topic = self.prefix.put(&record.topic);
        }
        let results = self.inner.publish(records).await;
        results.into_iter().map(|result| result.map_err(|error| self.prefix.error(error))).collect()
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        let inner = self.inner.subscribe(&self.prefix.put(group), &self.prefix.put_all(topics)).await;
        let inner = inner.map_err(|error| self.prefix.error(error))?;
        Ok(Box::new(Member { inner, prefix: self.prefix.clone() }))
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        let lags = self.inner.lag(&self.prefix.put(group), &self.prefix.put_all(topics)).await?;
        Ok(lags.into_iter().map(|lag| GroupLag { partition: self.prefix.inside(lag.partition), ..lag }).collect())
    }

    async fn identities(&self, topics: &[String]) -> Result<Vec<TopicIdentity>, TransportError> {
        let known = self.inner.identities(&self.prefix.put_all(topics)).await?;
        Ok(known.into_iter().map(|known| TopicIdentity { topic: self.prefix.take(&known.topic), ..known }).collect())
    }

    async fn offsets(&self, topic: &str, at: Option<Timestamp>) -> Result<Vec<PartitionOffsets>, TransportError> {
        let offsets = self.inner.offsets(&self.prefix.put(topic), at).await?;
        Ok(offsets.into_iter().map(|of| PartitionOffsets { partition: self.prefix.inside(of.partition), ..of }).collect())
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.inner.check().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct Member {
    inner: Box<dyn Subscription>,
    prefix: Prefix,
}

impl Member {
    fn outside(&self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        partitions.iter().map(|partition| self.prefix.outside(partition)).collect()
    }
}

#[async_trait]
impl Subscription for Member {
    async fn next(&mut self) -> Result<Delivery, TransportError> {
        self.inner.next().await.map(|delivery| self.prefix.delivery(delivery))
    }

    fn start(&mut self, from: &[(TopicPartition, Option<i64>)]) {
        let from: Vec<_> = from.iter().map(|(partition, offset)| (self.prefix.outside(partition), *offset)).collect();
        self.inner.start(&from);
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.inner.pause(&self.outside(partitions));
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.inner.resume(&self.outside(partitions));
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, Result<(), TransportError>> {
        let offsets = offsets.into_iter().map(|(partition, offset)| (self.prefix.outside(&partition), offset)).collect();
        self.inner.commit(offsets)
    }

    fn made_anew(&mut self, partitions: &[TopicPartition]) {
        self.inner.made_anew(&self.outside(partitions));
    }

    fn release(&mut self, partitions: &[TopicPartition]) {
        self.inner.release(&self.outside(partitions));
    }

    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}
