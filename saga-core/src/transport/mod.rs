//! The port to a log of records, and the two implementations that need no server: [`memory`] and `embedded`.
//!
//! A transport keeps topics of partitions of records, and the offsets that consumer groups have committed. The runtime needs
//! no more of it than the two traits here. Whoever implements them runs `testing::conformance::transport` on the result.
//!
//! A member of a group reads what it is assigned, from where it says or from where the group has committed, and commits what
//! it is done with:
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
//! // The first is done: the group is one behind.
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
mod statistics;

use async_trait::async_trait;
use futures_core::future::BoxFuture;

pub use condition::{Condition, TopicExpectation, TopicFinding, Weight};
pub use identity::TopicIdentity;
pub use statistics::{BrokerStatistics, ClientStatistics, PartitionStatistics};

pub use crate::message::TopicPartition;
use crate::{
    message::{Received, Record},
    time::Timestamp,
};

/// A topic that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions it is made with. A topic that is there keeps its number.
    pub partitions: u32,
}

/// What can go wrong between us and the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The log cannot be reached or answers with an error that may pass.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    /// The record can never be stored.
    #[error("the record was refused: {0}")]
    Refused(String),
    /// No such topic.
    #[error("there is no topic `{0}`; create it with `Transport::ensure_topics`")]
    UnknownTopic(String),
    /// A topic that cannot be made.
    #[error("the topic `{topic}` cannot be created: {reason}")]
    InvalidTopic {
        /// Its name.
        topic: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The log cannot be opened as it is.
    #[error("the log in {path} cannot be opened: {problem}")]
    Open {
        /// The folder or file.
        path: String,
        /// What is wrong, and what to do about it.
        problem: String,
    },
    /// The subscription or transport has been closed.
    #[error("closed")]
    Closed,
}

/// Where a published record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// How far a group is on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLag {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset the group will read: all before it is done.
    pub committed: i64,
    /// The end of what can be read: the offset the next published record will get, or where the oldest open transaction begins.
    pub end: i64,
    /// How many offsets lie behind `end`, because a transaction is open.
    pub blocked: i64,
}

/// What a partition holds, and where in it a time is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The partition.
    pub partition: TopicPartition,
    /// The oldest offset that is there.
    pub oldest: i64,
    /// The offset that the next published record will get.
    pub end: i64,
    /// The offset of the first record that is as young as asked for, by the log's timestamps; `end` if none is.
    pub at: i64,
}

/// A log of records with consumer groups.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Creates the topics that are missing.
    ///
    /// # Errors
    /// When the log cannot be reached, or refuses a name.
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError>;

    /// Stores `records`, durably when this returns, and says of each, in the order given, where it went.
    ///
    /// # Delivery
    /// Records of one key go to one partition, in the order given. Of a partition a prefix is stored: after the first
    /// record that failed, no later one of the same call in the same partition is stored, except past a record that was
    /// [`TransportError::Refused`] for good.
    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>>;

    /// Joins `group`, which reads `topics`. Every partition is read by one member of the group at a time, from where
    /// [`Subscription::start`] says.
    ///
    /// # Errors
    /// When the log cannot be reached or a topic is unknown.
    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError>;

    /// How far `group` is on every partition of `topics`.
    ///
    /// # Errors
    /// When the log cannot be reached.
    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError>;

    /// What every partition of `topic` holds, and its first record from `at` on; without a time, its oldest.
    ///
    /// # Errors
    /// When the log cannot be reached, there is no such topic, or this log cannot say.
    async fn offsets(&self, topic: &str, at: Option<Timestamp>) -> Result<Vec<PartitionOffsets>, TransportError> {
        let _ = at;
        Err(TransportError::Unavailable(format!("this log cannot say which offsets of `{topic}` there are")))
    }

    /// Whether the log can be reached and written, within the caller's patience.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<(), TransportError>;

    /// What keeps `group`, or the publishing to `topics`, from its work and lasts, as the log and the clients of this process know it
    /// now. It is asked about once a second: what it costs the log is bounded, and what it cannot know it leaves out. What
    /// [`Subscription::next`] and [`publish`](Self::publish) answer as an error the runtime sees by itself.
    ///
    /// # Errors
    /// When the log cannot be reached.
    async fn conditions(&self, group: &str, topics: &[String]) -> Result<Vec<Condition>, TransportError> {
        let _ = (group, topics);
        Ok(Vec::new())
    }

    /// Which logs `topics` are now. A topic that is not there is left out, and so is every topic of a log that knows no identities. It is
    /// asked about every three seconds.
    ///
    /// # Errors
    /// When the log cannot be reached.
    async fn identities(&self, topics: &[String]) -> Result<Vec<TopicIdentity>, TransportError> {
        let _ = topics;
        Ok(Vec::new())
    }

    /// Looks for settings of topics against which a guarantee cannot hold.
    ///
    /// # Errors
    /// When the log cannot be reached. A log that may not be asked for its settings answers with a finding that says so.
    async fn check_topics(&self, topics: &[TopicExpectation]) -> Result<Vec<TopicFinding>, TransportError> {
        let _ = topics;
        Ok(Vec::new())
    }

    /// What the clients of this process say of themselves, as of a few seconds ago: it becomes series of the services' metrics.
    fn statistics(&self) -> Vec<ClientStatistics> {
        Vec::new()
    }

    /// Flushes and closes. Nothing can be published or received afterwards.
    async fn close(&self);
}

/// What a subscription tells its reader.
#[derive(Debug)]
pub enum Delivery {
    /// Records of one partition, in order, following those delivered before.
    Records {
        /// The partition.
        partition: TopicPartition,
        /// At least one record.
        records: Vec<Received>,
    },
    /// Before `next` no record is left that was not delivered: offsets that have none were passed, as those of the ends of transactions
    /// and of records that were aborted. It follows what was delivered before.
    Passed {
        /// The partition.
        partition: TopicPartition,
        /// The next offset that can have a record.
        next: i64,
    },
    /// These partitions are now this member's; their records follow after [`Subscription::start`].
    Assigned(Vec<TopicPartition>),
    /// These partitions are wanted by another member. What is running on them is to be finished and committed, then
    /// [`Subscription::release`] gives them up. No more of their records are delivered.
    Revoked(Vec<TopicPartition>),
    /// These partitions are already another member's. Nothing of them may be committed.
    Lost(Vec<TopicPartition>),
    /// The records from `wanted` on are not there. Nothing of the partition is delivered until [`Subscription::start`] is called
    /// again.
    Gap {
        /// The partition.
        partition: TopicPartition,
        /// The next offset to be delivered. Below `oldest`: the records were removed, as by retention. Above `end`: the topic
        /// was made anew.
        wanted: i64,
        /// The oldest offset that is there.
        oldest: i64,
        /// The offset that the next published record will get.
        end: i64,
    },
}

/// A member of a consumer group. Dropping it leaves the group without committing.
#[async_trait]
pub trait Subscription: Send + 'static {
    /// Waits for what comes next. Cancel-safe: a call that is dropped has taken nothing.
    ///
    /// # Errors
    /// When the log cannot be read now; the next call tries again.
    async fn next(&mut self) -> Result<Delivery, TransportError>;

    /// Delivers assigned partitions from the offset given; `None`: from where the group has committed, or the oldest record
    /// there is. Nothing of an assigned partition is delivered before this is called. Called again, it moves: what was under way
    /// from before is not delivered any more. A partition that is not this member's is passed over.
    fn start(&mut self, from: &[(TopicPartition, Option<i64>)]);

    /// Stops delivering these partitions until [`resume`](Subscription::resume).
    fn pause(&mut self, partitions: &[TopicPartition]);

    /// Delivers these partitions again, where they were left.
    fn resume(&mut self, partitions: &[TopicPartition]);

    /// Commits: of each partition, all before the offset is done. The future, which holds nothing of the subscription and
    /// works whether or not it is polled, ends when that is stored, with an error when the log cannot store it now. A
    /// partition that is not this member's any more is passed over.
    fn commit(&mut self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, Result<(), TransportError>>;

    /// The topics of these partitions were made anew: what was committed of them was of the logs before, and offsets below it are committed
    /// from here on.
    fn made_anew(&mut self, partitions: &[TopicPartition]) {
        let _ = partitions;
    }

    /// Gives up partitions that were [`Delivery::Revoked`].
    fn release(&mut self, partitions: &[TopicPartition]);

    /// Leaves the group. Returns when the other members may go on.
    async fn close(self: Box<Self>);
}
