//! Replays: ranges of a partition that a service reads again at the request of an operator.

use async_trait::async_trait;

use super::{Ownership, StoreError};
use crate::{id::MessageId, message::TopicPartition, time::Timestamp};

/// The id of a replay.
pub type ReplayId = MessageId;

/// The state of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayState {
    /// The owner of the partition has not begun the replay.
    Waiting,
    /// The service reads the range.
    Running,
    /// An operator has stopped the replay, and the owner of the partition has not yet ended it.
    Stopping,
    /// The range was read.
    Done,
    /// An operator has ended the replay.
    Cancelled,
    /// The replay is not possible, for the reason in [`Replay::detail`].
    Refused,
}

impl ReplayState {
    /// All states.
    pub const ALL: [Self; 6] = [Self::Waiting, Self::Running, Self::Stopping, Self::Done, Self::Cancelled, Self::Refused];

    /// Returns the name of the state, as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
        }
    }

    /// Whether the replay has not ended.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running | Self::Stopping)
    }
}

/// A range of one partition that is read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The id of the replay.
    pub id: ReplayId,
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset; `None` while only `from_time` is known.
    pub from: Option<i64>,
    /// The time of the first record, if the operator gave one.
    pub from_time: Option<Timestamp>,
    /// The offset after the last record. `None` before the replay begins: the range then ends at the end of the partition.
    pub to: Option<i64>,
    /// The time before which the last record was published, if the operator gave one.
    pub to_time: Option<Timestamp>,
    /// The largest number of records that the range can contain.
    pub limit: i64,
    /// Whether messages that were handled before are handled again.
    pub again: bool,
    /// The reason that the operator gave.
    pub reason: String,
    /// The operator who requested the replay.
    pub by: String,
    /// When the replay was requested. If messages are handled again, inbox claims before this time do not count.
    pub at: Timestamp,
    /// The state of the replay.
    pub state: ReplayState,
    /// The offset at which reading continues after the replay: the watermark before it began.
    pub resume: Option<i64>,
    /// When the replay ended.
    pub ended_at: Option<Timestamp>,
    /// How the replay ended, in words.
    pub detail: Option<String>,
    /// The identity of the log to which the offsets belong, if it was known when the replay was requested.
    pub log: Option<String>,
    /// The applied offset of the partition when this was read.
    pub applied: Option<i64>,
}

/// A change of a replay's state, by the owner of the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayStep {
    /// The replay.
    pub id: ReplayId,
    /// The partition, the epoch under which it is owned, and the offset at which reading continues.
    pub owned: Ownership,
    /// The new state of the replay.
    pub state: ReplayState,
    /// The first offset of the range.
    pub from: Option<i64>,
    /// The offset after the last record of the range.
    pub to: Option<i64>,
    /// The offset at which reading continues after the replay.
    pub resume: Option<i64>,
    /// A remark on the step, for [`Replay::detail`].
    pub detail: Option<String>,
    /// The time of the step.
    pub at: Timestamp,
}

/// The part of a [`Store`](super::Store) that stores replays.
#[async_trait]
pub trait ReplayStore: Send + Sync {
    /// Stores a requested replay. Returns false if a replay of the same partition has not ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn ask(&self, service: &str, replay: &Replay) -> Result<bool, StoreError>;

    /// Returns replays, newest first, at most `limit`; with `open`, only those that have not ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn list(&self, service: &str, open: bool, limit: u32) -> Result<Vec<Replay>, StoreError>;

    /// Ends a waiting replay, or requests the owner of the partition to end a running one. Returns false if the replay does not exist or
    /// has ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn stop(&self, service: &str, id: &ReplayId, at: Timestamp) -> Result<bool, StoreError>;

    /// In one transaction, changes the state of a replay that has not ended and sets the offset at which reading continues. Returns false
    /// and changes nothing if the epoch is no longer valid or the replay has ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn step(&self, service: &str, step: &ReplayStep) -> Result<bool, StoreError>;

    /// Returns the partitions that `service` has read, with their applied offsets.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn partitions(&self, service: &str) -> Result<Vec<Ownership>, StoreError>;

    /// Removes at most `limit` replays that ended before `before`, and returns how many it removed.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn prune(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
