//! The interface to a log of records, and the two implementations that need no server: [`memory`] and `embedded`.
//!
//! A transport stores records in the partitions of topics, and the offsets that consumer groups have committed. The two traits here are all
//! that the runtime needs of it. An implementation is tested with `testing::conformance::transport`.
//!
//! A member of a group reads the partitions that it is assigned, from an offset that it chooses or from where the group has committed. It
//! commits the offsets of the records that it has handled:
//!
//! ```
//! # use saga_core::{message::{Record, TopicPartition}, time::LogTime};
//! use saga_core::transport::{Delivery, Subscription, TopicSpec, Transport, memory::Memory};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let order = |key: &'static str| Record {
//! #     topic: "orders".into(), key: Some(key.into()), value: None, headers: vec![], timestamp: LogTime::from_millis(0),
//! # };
//! let log = Memory::new();
//! let orders = ["orders".to_owned()];
//! log.ensure_topics(&[TopicSpec { name: "orders".to_owned(), partitions: 1 }]).await?;
//! let stored = log.publish(vec![order("41"), order("42")]).await;
//! assert!(stored.iter().all(Result::is_ok));
//!
//! let mut member = log.subscribe("billing", &orders).await?;
//! let Delivery::Assigned(partitions) = member.next().await? else { panic!("it is the only member") };
//! member.start(&[(partitions[0].clone(), None)]);
//! let Delivery::Records { partition, records } = member.next().await? else { panic!("records follow") };
//! assert_eq!((&partition, records[0].offset), (&TopicPartition::new("orders", 0), 0));
//!
//! // The first record is done, so the group is one record behind.
//! member.commit(vec![(partition, 1)]).await?;
//! let lag = &log.lag("billing", &orders).await?[0];
//! assert_eq!((lag.committed, lag.end), (1, 2));
//! member.close().await;
//! # Ok(()) }
//! ```

mod condition;
#[cfg(feature = "sqlite")]
pub mod embedded;
mod identity;
mod local;
pub mod memory;
pub(crate) mod named;
mod names;
mod statistics;

use std::borrow::Cow;

use async_trait::async_trait;
use futures_core::future::BoxFuture;

pub use condition::{Condition, TopicExpectation, TopicFinding, Weight};
pub use identity::TopicIdentity;
pub use names::TopicNames;
pub use statistics::{BrokerStatistics, ClientStatistics, PartitionStatistics};

pub use crate::message::TopicPartition;
use crate::{
    message::{Received, Record},
    time::Timestamp,
};

/// A topic that a program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// The name of the topic.
    pub name: String,
    /// The number of partitions that the topic is created with. A topic that exists keeps its own number.
    pub partitions: u32,
}

/// An error of the log, or of the connection to it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The log cannot be reached, or it returned an error that may pass.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    /// The record can never be stored.
    #[error("the record was refused: {0}")]
    Refused(String),
    /// The topic does not exist.
    #[error("there is no topic `{0}`; create it")]
    UnknownTopic(String),
    /// The topic cannot be created.
    #[error("the topic `{topic}` cannot be created: {reason}")]
    InvalidTopic {
        /// The name of the topic.
        topic: String,
        /// The reason.
        reason: String,
    },
    /// The log cannot be opened in its present state.
    #[error("the log in {path} cannot be opened: {problem}")]
    Open {
        /// The folder or file.
        path: String,
        /// The problem, and what to do about it.
        problem: String,
    },
    /// The subscription or the transport is closed.
    #[error("closed")]
    Closed,
}

/// Formats the error as `Display` does, because a `main` that returns the error prints it with `Debug`.
impl std::fmt::Debug for TransportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Where a published record was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}

/// The progress of a group on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLag {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset that the group will read. All records before it are done.
    pub committed: i64,
    /// The end of the readable records: the offset that the next published record will get, or the first offset of the oldest open
    /// transaction.
    pub end: i64,
    /// The number of offsets from `end` on that cannot be read yet because a transaction is open.
    pub blocked: i64,
}

/// The offsets of a partition, and the offset that belongs to a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The partition.
    pub partition: TopicPartition,
    /// The oldest offset that the log still has.
    pub oldest: i64,
    /// The offset that the next published record will get.
    pub end: i64,
    /// The offset of the first record that is not older than the requested time, by the timestamps of the records; `end` if there is none.
    /// Without a time, the oldest offset.
    pub at: i64,
}

/// A log of records with consumer groups.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Creates the topics that do not exist.
    ///
    /// # Errors
    /// Returns an error if the log cannot be reached or rejects a name.
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError>;

    /// Stores `records` durably and returns, for each of them in the same order, where it was stored.
    ///
    /// # Delivery
    /// Records with the same key are stored in the same partition, in the order given. After the first record that fails in a partition, no
    /// later record of the same call is stored in that partition. The exception is a record that fails with [`TransportError::Refused`]:
    /// later records are stored.
    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>>;

    /// Joins `group`, which reads `topics`. Each partition is read by one member of the group at a time, from the offset given to
    /// [`Subscription::start`].
    ///
    /// # Errors
    /// Returns an error if the log cannot be reached or a topic does not exist.
    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError>;

    /// Returns the progress of `group` on every partition of `topics`.
    ///
    /// # Errors
    /// Returns an error if the log cannot be reached.
    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError>;

    /// Returns the offsets of every partition of `topic`, with the offset of the first record that is not older than `at`. Without `at`,
    /// that is the oldest offset.
    ///
    /// # Errors
    /// Returns an error if the log cannot be reached, the topic does not exist, or this log does not support the query.
    async fn offsets(&self, topic: &str, at: Option<Timestamp>) -> Result<Vec<PartitionOffsets>, TransportError> {
        let _ = at;
        Err(TransportError::Unavailable(format!("this log cannot report the offsets of `{topic}`")))
    }

    /// Checks that the log can be reached and written. The caller sets the timeout.
    ///
    /// # Errors
    /// Returns the reason why it cannot.
    async fn check(&self) -> Result<(), TransportError>;

    /// Returns the lasting problems of `group`, or of publishing to `topics`, that the log and the clients of this process know of now. The
    /// runtime calls this about once a second. An implementation bounds the cost of the call for the log, and leaves out what it cannot
    /// find out. Errors of [`Subscription::next`] and [`publish`](Self::publish) need not be repeated here, because the runtime already has
    /// them.
    ///
    /// # Errors
    /// Returns an error if the log cannot be reached.
    async fn conditions(&self, group: &str, topics: &[String]) -> Result<Vec<Condition>, TransportError> {
        let _ = (group, topics);
        Ok(Vec::new())
    }

    /// Returns the identities of `topics`. A topic that does not exist is left out. A log without identities returns none. The runtime
    /// calls this about every three seconds.
    ///
    /// # Errors
    /// Returns an error if the log cannot be reached.
    async fn identities(&self, topics: &[String]) -> Result<Vec<TopicIdentity>, TransportError> {
        let _ = topics;
        Ok(Vec::new())
    }

    /// Checks the settings of topics for values with which a guarantee cannot hold.
    ///
    /// # Errors
    /// Returns an error if the log cannot be reached. If the log denies access to its settings, a finding reports this.
    async fn check_topics(&self, topics: &[TopicExpectation]) -> Result<Vec<TopicFinding>, TransportError> {
        let _ = topics;
        Ok(Vec::new())
    }

    /// Returns the statistics of the clients of this process, a few seconds old at most. The runtime exports them as metrics of the
    /// services.
    fn statistics(&self) -> Vec<ClientStatistics> {
        Vec::new()
    }

    /// Describes the log for the line that a service logs at its start: the product, the address, and the version if it is known. Never
    /// contains a password.
    async fn about(&self) -> Option<String> {
        None
    }

    /// Returns the name that `topic` has in the log, which operators search by, where it differs from the name in the code
    /// ([`TopicNames`]).
    fn name_in_log<'t>(&'t self, topic: &'t str) -> Cow<'t, str> {
        Cow::Borrowed(topic)
    }

    /// Flushes and closes. Nothing can be published or received afterwards.
    async fn close(&self);
}

/// An item that [`Subscription::next`] returns.
#[derive(Debug)]
pub enum Delivery {
    /// Records of one partition, in order, following those delivered before.
    Records {
        /// The partition.
        partition: TopicPartition,
        /// At least one record.
        records: Vec<Received>,
    },
    /// All records before `next` were delivered; the offsets up to `next` that were skipped have no records that can be read. Such offsets
    /// belong to the ends of transactions and to records of aborted transactions. Follows the records delivered before.
    Passed {
        /// The partition.
        partition: TopicPartition,
        /// The next offset that can have a record.
        next: i64,
    },
    /// These partitions are now assigned to this member. Their records are delivered after [`Subscription::start`].
    Assigned(Vec<TopicPartition>),
    /// These partitions are to move to another member, and no more of their records are delivered. The member finishes and commits the
    /// running work on them, and then gives them up with [`Subscription::release`].
    Revoked(Vec<TopicPartition>),
    /// These partitions already belong to another member. The member must not commit any of their offsets.
    Lost(Vec<TopicPartition>),
    /// The log does not have the records from `wanted` on. Nothing of the partition is delivered until [`Subscription::start`] is called
    /// again.
    Gap {
        /// The partition.
        partition: TopicPartition,
        /// The next offset to be delivered. Below `oldest`, the records were removed, for example by retention. Above `end`, the topic was
        /// recreated.
        wanted: i64,
        /// The oldest offset that the log still has.
        oldest: i64,
        /// The offset that the next published record will get.
        end: i64,
    },
}

/// A member of a consumer group. Dropping it leaves the group without a commit.
#[async_trait]
pub trait Subscription: Send + 'static {
    /// Waits for the next delivery. Cancel-safe: if the future is dropped, no delivery is lost.
    ///
    /// # Errors
    /// Returns an error if the log cannot be read now. The next call tries again.
    async fn next(&mut self) -> Result<Delivery, TransportError>;

    /// Starts to deliver assigned partitions from the given offsets. `None` means the offset that the group has committed, or the oldest
    /// record if it has committed none. Before this call, nothing of an assigned partition is delivered. A second call moves the position:
    /// records that were already fetched for the previous position are not delivered. Partitions that do not belong to this member are
    /// ignored.
    fn start(&mut self, from: &[(TopicPartition, Option<i64>)]);

    /// Stops the delivery of these partitions until [`resume`](Subscription::resume).
    fn pause(&mut self, partitions: &[TopicPartition]);

    /// Continues the delivery of these partitions where it stopped.
    fn resume(&mut self, partitions: &[TopicPartition]);

    /// Commits an offset for each partition: all records before it are done. The future completes when the offsets are stored, or with an
    /// error if the log cannot store them now. It borrows nothing from the subscription, and the commit proceeds even if the future is not
    /// polled. Partitions that do not belong to this member any more are ignored.
    fn commit(&mut self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, Result<(), TransportError>>;

    /// Reports that the topics of these partitions were recreated. Offsets committed before belong to the deleted topics, so from now on
    /// smaller offsets can be committed too.
    fn made_anew(&mut self, partitions: &[TopicPartition]) {
        let _ = partitions;
    }

    /// Gives up partitions that were [`Delivery::Revoked`].
    fn release(&mut self, partitions: &[TopicPartition]);

    /// Leaves the group. Returns when the other members can read its partitions.
    async fn close(self: Box<Self>);
}
