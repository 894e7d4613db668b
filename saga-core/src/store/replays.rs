//! Replays: ranges of a partition that are read once more, because an operator wants it.

use async_trait::async_trait;

use super::{Ownership, StoreError};
use crate::{id::MessageId, message::TopicPartition, time::Timestamp};

/// A replay's identity.
pub type ReplayId = MessageId;

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayState {
    /// The owner of the partition has not begun it.
    Waiting,
    /// The partition is read from the beginning of the range on.
    Running,
    /// It is to end before its range does.
    Stopping,
    /// The range was read.
    Done,
    /// An operator has ended it.
    Cancelled,
    /// It cannot be done, for the reason in [`Replay::detail`].
    Refused,
}

impl ReplayState {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Waiting, Self::Running, Self::Stopping, Self::Done, Self::Cancelled, Self::Refused];

    /// As it is written.
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

    /// Whether it has not ended.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running | Self::Stopping)
    }
}

/// A range of one partition that is to be read once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its identity.
    pub id: ReplayId,
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset; `None` as long as only `from_time` is known.
    pub from: Option<i64>,
    /// The time of the first record, if that was asked for.
    pub from_time: Option<Timestamp>,
    /// The offset after the last; `None` before it was begun: where the partition ends then.
    pub to: Option<i64>,
    /// The time before which the last record was published, if that was asked for.
    pub to_time: Option<Timestamp>,
    /// The most records that the range may span.
    pub limit: i64,
    /// Whether what was handled before is handled again.
    pub again: bool,
    /// Why, for people.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
    /// When it was asked for. Claims of the inbox before that do not count, where it is to be handled again.
    pub at: Timestamp,
    /// How far it is.
    pub state: ReplayState,
    /// Where the partition was read before, and is read afterwards.
    pub resume: Option<i64>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What is to be said of its end.
    pub detail: Option<String>,
    /// The identity of the log that its offsets are of, if that was known when it was asked for.
    pub log: Option<String>,
    /// How far the partition is applied, when this was read.
    pub applied: Option<i64>,
}

/// A step of a replay, by the owner of the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayStep {
    /// The replay.
    pub id: ReplayId,
    /// The partition, the epoch under which it is owned, and where it is read from now on.
    pub owned: Ownership,
    /// How far the replay is then.
    pub state: ReplayState,
    /// The first offset of the range.
    pub from: Option<i64>,
    /// The offset after its last.
    pub to: Option<i64>,
    /// Where the partition is read afterwards.
    pub resume: Option<i64>,
    /// What is to be said of it.
    pub detail: Option<String>,
    /// When it is taken.
    pub at: Timestamp,
}

/// The part of a [`Store`](super::Store) that keeps replays.
#[async_trait]
pub trait ReplayStore: Send + Sync {
    /// Keeps a replay that was asked for; false when one of its partition has not ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn ask(&self, service: &str, replay: &Replay) -> Result<bool, StoreError>;

    /// Replays, newest first, at most `limit`; with `open` those only that have not ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn list(&self, service: &str, open: bool, limit: u32) -> Result<Vec<Replay>, StoreError>;

    /// Ends a replay that waits, and has one that runs be ended by its owner; false when it is not there or has ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn stop(&self, service: &str, id: &ReplayId, at: Timestamp) -> Result<bool, StoreError>;

    /// Takes a step of a replay that has not ended, and sets the partition to where it is read from now on, at once; false, and
    /// nothing of it, when the epoch does not stand any more or the replay has ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn step(&self, service: &str, step: &ReplayStep) -> Result<bool, StoreError>;

    /// The partitions that `service` has read, with how far each is applied.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn partitions(&self, service: &str) -> Result<Vec<Ownership>, StoreError>;

    /// Forgets at most `limit` replays that ended before `before`; says how many.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn prune(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
