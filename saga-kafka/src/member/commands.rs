//! The commands to a member's thread.

use std::collections::BTreeMap;

use saga_core::{message::TopicPartition, transport::TransportError};
use tokio::sync::oneshot;

use crate::unassigned::Rejoin;

/// All commands since the last call. Their number is limited by the partitions, and by the commits that the runtime waits for.
#[derive(Default)]
pub(super) struct Commands {
    /// The last start of each partition.
    pub(super) start: BTreeMap<TopicPartition, Start>,
    pub(super) released: Vec<Released>,
    /// Partitions of topics that were recreated.
    pub(super) made_anew: Vec<TopicPartition>,
    pub(super) commits: Vec<Commit>,
    /// Partitions, with their run, that have room in their buffers again.
    pub(super) room: Vec<(TopicPartition, u64)>,
    pub(super) answers: Vec<Answer>,
    pub(super) rejoin: Option<Rejoin>,
    pub(super) close: bool,
}

/// Start reading a partition.
pub(super) struct Start {
    pub(super) generation: u64,
    pub(super) run: u64,
    /// `None` is the committed offset of the group or, without one, the oldest record.
    pub(super) from: Option<i64>,
}

/// The runtime has finished with a revoked partition.
pub(super) struct Released {
    pub(super) partition: TopicPartition,
    pub(super) generation: u64,
}

/// Commit these offsets, each with the generation of its partition.
pub(super) struct Commit {
    pub(super) offsets: Vec<(TopicPartition, u64, i64)>,
    pub(super) done: oneshot::Sender<Result<(), TransportError>>,
}

/// The run of a partition that a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) partition: TopicPartition,
    pub(super) generation: u64,
    pub(super) run: u64,
}

/// The result of a request of the observer.
pub(super) enum Answer {
    /// The committed offset of the group in each partition. Without one, the partition starts at its oldest record.
    CommittedOffsets(Vec<(Asked, Option<i64>)>),
    /// The committed offsets could not be read.
    OffsetsUnavailable(Vec<Asked>, TransportError),
    /// The oldest offset and the end of each partition.
    Bounds(Vec<(Asked, i64, i64)>, Why),
    /// The bounds could not be read.
    NoBounds(Why),
    /// Makes the thread panic.
    #[cfg(test)]
    Poison,
    /// Simulates an error of the client, with its description.
    #[cfg(test)]
    Erred(rdkafka::error::KafkaError, String),
}

/// Why the bounds of partitions are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The client cannot fetch one of the partitions from its position.
    Stuck,
    /// Nothing was fetched for a while.
    Quiet,
}
