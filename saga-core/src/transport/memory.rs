//! A log in memory, for tests and for programs that do not need durability.
//!
//! It behaves like the durable logs, with groups and rebalances, and it is deterministic. It keeps every record until it is dropped or the
//! records are removed by [`forget_before`](Memory::forget_before).
//!
//! ```
//! # use std::sync::Arc;
//! # use saga_core::{message::Record, time::LogTime, transport::{Delivery, TopicSpec, Transport, memory::Memory}};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let log = Memory::new();
//! log.ensure_topics(&[TopicSpec { name: "orders".into(), partitions: 1 }]).await?;
//! let mut reader = log.subscribe("billing", &["orders".into()]).await?;
//! let Delivery::Assigned(partitions) = reader.next().await? else { panic!("it is the only reader") };
//! reader.start(&[(partitions[0].clone(), None)]);
//!
//! let record = Record {
//!     topic: "orders".into(),
//!     key: Some("42".into()),
//!     value: Some("{}".into()),
//!     headers: vec![],
//!     timestamp: LogTime::from_millis(0),
//! };
//! log.publish(vec![record]).await;
//! assert!(matches!(reader.next().await?, Delivery::Records { records, .. } if records.len() == 1));
//! # Ok(()) }
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use futures_core::future::BoxFuture;

use super::{
    GroupLag, PartitionOffsets, Position, Subscription, TopicIdentity, TopicPartition, TopicSpec, Transport, TransportError,
    local::{Broker, Catalog, Limits, LogStore, Partition, Topic, new_identity},
};
use crate::{
    message::{Received, Record},
    time::{Clock, Timestamp},
};

/// A log in memory. Clones share the same log.
#[derive(Clone)]
pub struct Memory(Arc<Broker<MemoryLog>>);

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// Creates an empty log.
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// Creates an empty log that measures its timeouts with `clock`: a member has 30 s to release a partition that moves to another member.
    pub fn with_clock(clock: Clock) -> Self {
        let catalog = Arc::<Catalog>::default();
        Self(Broker::new(MemoryLog { catalog: Arc::clone(&catalog) }, catalog, clock))
    }

    /// Adds partitions to a topic until it has `partitions` of them. From then on, the records of a key may go to another partition than
    /// before. Groups that read the topic read the new partitions too.
    ///
    /// # Errors
    /// Returns an error if the topic does not exist.
    pub async fn add_partitions(&self, topic: &str, partitions: u32) -> Result<(), TransportError> {
        let catalog = &self.0.store().catalog;
        let known = catalog.topic(topic).ok_or_else(|| TransportError::UnknownTopic(topic.to_owned()))?;
        let mut all = known.partitions.clone();
        for number in i32::try_from(all.len()).unwrap_or(i32::MAX)..i32::try_from(partitions).unwrap_or(i32::MAX) {
            all.push(Partition::new(TopicPartition::new(topic, number), 0, 0, 0, usize::MAX));
        }
        catalog.replace(Topic::new(topic, Arc::clone(&known.identity), all));
        self.0.repartitioned(topic).await
    }

    /// Deletes a topic and creates it again, empty, with `partitions` partitions. Members that read it continue at their offsets, in the
    /// new topic. If the topic gets fewer partitions than before, it must have no members during this call.
    ///
    /// # Errors
    /// Returns an error if the topic does not exist.
    pub async fn recreate(&self, topic: &str, partitions: u32) -> Result<(), TransportError> {
        let catalog = &self.0.store().catalog;
        let known = catalog.topic(topic).ok_or_else(|| TransportError::UnknownTopic(topic.to_owned()))?;
        known.partitions.iter().for_each(|partition| partition.clear());
        let of = |number: i32| {
            let kept = usize::try_from(number).ok().and_then(|number| known.partitions.get(number)).cloned();
            kept.unwrap_or_else(|| Partition::new(TopicPartition::new(topic, number), 0, 0, 0, usize::MAX))
        };
        let all = (0..i32::try_from(partitions).unwrap_or(i32::MAX)).map(of).collect();
        catalog.replace(Topic::new(topic, new_identity(), all));
        self.0.repartitioned(topic).await
    }

    /// Begins a transaction in a partition, as a transactional producer does. Records that are published to the partition from here on
    /// cannot be read before [`end_transaction`](Memory::end_transaction). Does nothing if the partition does not exist.
    pub fn begin_transaction(&self, partition: &TopicPartition) {
        if let Some(found) = self.find(partition) {
            found.open();
        }
    }

    /// Ends the transaction of a partition. This takes one offset, which has no record, even if no transaction was open.
    pub fn end_transaction(&self, partition: &TopicPartition) {
        if let Some(found) = self.find(partition) {
            found.mark();
        }
    }

    fn find(&self, partition: &TopicPartition) -> Option<Arc<Partition>> {
        let topic = self.0.store().catalog.topic(&partition.topic)?;
        topic.partitions.get(usize::try_from(partition.partition).ok()?).cloned()
    }

    /// Removes the records before `offset`, as retention does in a durable log. Does nothing if the partition does not exist.
    pub fn forget_before(&self, partition: &TopicPartition, offset: i64) {
        if let Some(found) = self.find(partition) {
            found.drop_before(offset.min(found.bounds().1));
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for Memory {
    async fn about(&self) -> Option<String> {
        Some("memory".to_owned())
    }

    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.0.ensure_topics(topics).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        self.0.publish(records).await
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        self.0.subscribe(group, topics).await
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        self.0.lag(group, topics)
    }

    async fn offsets(&self, topic: &str, at: Option<Timestamp>) -> Result<Vec<PartitionOffsets>, TransportError> {
        self.0.offsets(topic, at).await
    }

    async fn identities(&self, topics: &[String]) -> Result<Vec<TopicIdentity>, TransportError> {
        self.0.identities(topics)
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.0.check().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// Stores nothing itself: the partitions keep everything.
struct MemoryLog {
    catalog: Arc<Catalog>,
}

impl LogStore for MemoryLog {
    async fn create(&self, topics: Vec<TopicSpec>) -> Result<(), TransportError> {
        for spec in topics {
            let partitions = (0..spec.partitions as i32)
                .map(|number| Partition::new(TopicPartition::new(&spec.name, number), 0, 0, 0, usize::MAX))
                .collect();
            self.catalog.enter(Topic::new(&spec.name, new_identity(), partitions));
        }
        Ok(())
    }

    async fn append(&self, records: Vec<(Arc<Partition>, Arc<Record>)>) -> Vec<Result<i64, TransportError>> {
        records.into_iter().map(|(partition, record)| Ok(partition.push([record]))).collect()
    }

    async fn read(&self, partition: &Arc<Partition>, from: i64, _: Limits) -> Result<Vec<Received>, TransportError> {
        Err(TransportError::Unavailable(format!("{} has no record {from} in memory", partition.id)))
    }

    async fn register(&self, group: &Arc<str>, partitions: Vec<Arc<Partition>>) -> Result<(), TransportError> {
        for partition in partitions {
            partition.register(group);
        }
        Ok(())
    }

    fn commit(&self, group: &Arc<str>, offsets: Vec<(Arc<Partition>, i64)>) -> BoxFuture<'static, Result<(), TransportError>> {
        for (partition, offset) in offsets {
            partition.commit(group, offset);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    async fn check(&self) -> Result<(), TransportError> {
        Ok(())
    }

    async fn close(&self) {}
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        testing::conformance::{self, transport::bench::Bench},
        transport::Delivery,
    };

    #[tokio::test]
    async fn conforms() {
        conformance::transport::all(async || Arc::new(Memory::new()) as Arc<dyn Transport>).await;
    }

    #[tokio::test]
    async fn what_was_forgotten_is_a_gap() {
        let log = Memory::new();
        let forget = async |partition: &TopicPartition, offset| log.forget_before(partition, offset);
        conformance::transport::removed_records_are_a_gap(Arc::new(log.clone()), forget).await;
    }

    #[tokio::test]
    async fn a_topic_made_anew_is_another() {
        let log = Memory::new();
        let bench = Bench::new(Arc::new(log.clone()), 2).await;
        let identity = async || log.identities(std::slice::from_ref(&bench.topic)).await.expect("known").remove(0).log;
        let before = identity().await;
        let mut reader = bench.reader("g").await;
        bench.publish_numbers(0..20).await;
        let read = reader.read(20).await;
        reader.commit(&read).await;
        log.add_partitions(&bench.topic, 3).await.expect("it grows");
        assert_eq!(identity().await, before);
        log.recreate(&bench.topic, 3).await.expect("it is made anew");
        assert_ne!(identity().await, before);
        assert_eq!((bench.lag("g").await, bench.publish_numbers(0..1).await[0].offset), (0, 0));
    }

    #[tokio::test]
    async fn the_end_of_a_transaction_is_passed_and_what_it_holds_back_is_not_read() {
        let log = Memory::new();
        let bench = Bench::new(Arc::new(log.clone()), 1).await;
        let mut reader = bench.reader("g").await;
        reader.hold(1).await;
        let partition = bench.partition(0);
        bench.publish_numbers(0..2).await;
        log.begin_transaction(&partition);
        bench.publish_numbers(2..4).await;
        reader.read(2).await;
        reader.is_silent().await;
        let lag = log.lag(&bench.group("g"), std::slice::from_ref(&bench.topic)).await.expect("known").remove(0);
        assert_eq!((lag.end, lag.blocked), (2, 2));
        log.end_transaction(&partition);
        log.end_transaction(&partition);
        reader.read(2).await;
        assert!(matches!(reader.next().await, Ok(Delivery::Passed { next: 6, .. })));
        // The skipped offsets before a record are not delivered separately; the record's own offset shows them.
        reader.is_silent().await;
        bench.publish_numbers(4..5).await;
        assert_eq!(reader.read(1).await[0].offset, 6);
    }

    #[tokio::test]
    async fn a_member_that_does_not_release_loses_the_partition() {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let bench = Bench::new(Arc::new(Memory::with_clock(clock.clone())), 2).await;
        bench.publish_numbers(0..20).await;
        let mut old = bench.reader("g").await;
        old.read(20).await;
        let mut new = bench.reader("g").await;
        let Ok(Delivery::Revoked(wanted)) = old.next().await else { panic!("nothing was revoked") };

        // The waiting member enforces the deadline while the other member is busy.
        let mut next = Box::pin(new.next());
        assert!(futures_util::poll!(&mut next).is_pending(), "it is not released");
        clock.advance(Duration::from_secs(30));
        assert!(matches!(next.await, Ok(Delivery::Assigned(partitions)) if partitions == wanted));

        old.subscription.commit(vec![(wanted[0].clone(), 5)]).await.expect("what was lost is passed over");
        let lag = bench.log.lag(&bench.group("g"), std::slice::from_ref(&bench.topic)).await.expect("the lag is known");
        assert!(lag.iter().all(|partition| partition.committed == 0), "{lag:?}");
        assert!(matches!(old.subscription.next().await, Ok(Delivery::Lost(partitions)) if partitions == wanted));
    }
}
