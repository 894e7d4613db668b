//! What the thread is told to do.

use std::collections::BTreeMap;

use saga_core::{message::TopicPartition, transport::TransportError};
use tokio::sync::oneshot;

/// Everything since the last time. Bounded by the partitions, and by the commits that the runtime waits for.
#[derive(Default)]
pub(super) struct Orders {
    /// The latest start of each partition.
    pub(super) start: BTreeMap<TopicPartition, Start>,
    pub(super) released: Vec<Released>,
    /// Partitions of topics that were made anew.
    pub(super) made_anew: Vec<TopicPartition>,
    pub(super) commits: Vec<Commit>,
    /// Partitions, with their run, that have room for records again.
    pub(super) room: Vec<(TopicPartition, u64)>,
    pub(super) answers: Vec<Answer>,
    pub(super) close: bool,
}

/// Read this partition from here.
pub(super) struct Start {
    pub(super) generation: u64,
    pub(super) run: u64,
    /// `None`: from where the group has committed, or the oldest record.
    pub(super) from: Option<i64>,
}

/// The runtime is done with a partition that was revoked.
pub(super) struct Released {
    pub(super) partition: TopicPartition,
    pub(super) generation: u64,
}

/// Commit these offsets, each with the generation of its partition.
pub(super) struct Commit {
    pub(super) offsets: Vec<(TopicPartition, u64, i64)>,
    pub(super) done: oneshot::Sender<Result<(), TransportError>>,
}

/// A run of a partition that something was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) partition: TopicPartition,
    pub(super) generation: u64,
    pub(super) run: u64,
}

/// What the observer found out.
pub(super) enum Answer {
    /// Where the group has committed, where it has.
    Committed(Vec<(Asked, Option<i64>)>),
    /// That could not be found out.
    NotCommitted(Vec<Asked>, TransportError),
    /// The oldest offset and the end of each.
    Bounds(Vec<(Asked, i64, i64)>, Why),
    /// That could not be found out.
    NoBounds(Why),
    /// Something that makes the thread panic.
    #[cfg(test)]
    Poison,
    /// An error that the client gives, and what it says of it.
    #[cfg(test)]
    Erred(rdkafka::error::KafkaError, String),
}

/// Why the bounds of partitions were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The client cannot fetch from where one of them is.
    Stuck,
    /// Nothing was fetched for a while.
    Quiet,
}
