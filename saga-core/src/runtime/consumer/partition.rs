//! A partition that this member reads, from its assignment until it is given up.

use super::replay::Replaying;
use crate::{
    engine::watermark::Watermark,
    message::TopicPartition,
    runtime::{core::Core, metrics::PartitionSeries},
    store::Ownership,
    time::Timestamp,
};

/// How far a partition has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is to be taken over in the database, when it is time.
    Wanted(Timestamp),
    /// It is being taken over.
    Taking,
    /// It is read.
    Reading,
    /// Records are missing. When what was read before is done, it goes on at this time, if that is wanted.
    Gap(Option<Timestamp>),
    /// It is being set to the oldest record.
    Skipping,
}

/// A partition that this member reads.
pub(super) struct Owned {
    pub(super) stage: Stage,
    /// Under which it was taken over last; 0 before.
    pub(super) epoch: i64,
    /// What of this epoch was delivered.
    pub(super) watermark: Watermark,
    /// How far the database has it.
    pub(super) applied: Option<i64>,
    /// Messages of this epoch in lanes.
    pub(super) running: usize,
    /// When another member wanted it: nothing new is begun.
    pub(super) revoked: Option<Timestamp>,
    /// How often, in a row, it could not be taken over, or was taken away.
    pub(super) setbacks: u32,
    /// A range of it is read once more.
    pub(super) replay: Option<Box<Replaying>>,
    pub(super) series: PartitionSeries,
}

impl Owned {
    /// One that was just assigned.
    pub(super) fn new(core: &Core, partition: &TopicPartition) -> Self {
        Self {
            stage: Stage::Wanted(core.clock.now()),
            epoch: 0,
            watermark: Watermark::default(),
            applied: None,
            running: 0,
            revoked: None,
            setbacks: 0,
            replay: None,
            series: PartitionSeries::new(&core.metrics, &partition.topic, partition.partition),
        }
    }

    /// It was taken over.
    pub(super) fn begin(&mut self, owned: &Ownership) {
        (self.stage, self.epoch, self.running) = (Stage::Reading, owned.epoch, 0);
        self.read_from(owned.applied);
    }

    /// It is read from `applied` on.
    pub(super) fn read_from(&mut self, applied: Option<i64>) {
        (self.watermark, self.applied) = (applied.map_or_else(Watermark::default, Watermark::starting_at), applied);
    }

    /// It is to be taken over, again, at `at`. What is under way of it has no effect any more.
    pub(super) fn want(&mut self, at: Timestamp) {
        (self.stage, self.running, self.replay) = (Stage::Wanted(at), 0, None);
        self.read_from(None);
        self.setbacks = self.setbacks.saturating_add(1);
    }

    /// Whether messages of it may be handled: it was taken over, and nobody wants it.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Reading | Stage::Gap(_)) && self.revoked.is_none()
    }

    /// The offset before which all is done, if the database does not know that.
    pub(super) fn ahead(&self) -> Option<i64> {
        let prefix = self.watermark.prefix().filter(|_| matches!(self.stage, Stage::Reading | Stage::Gap(_)))?;
        self.applied.is_none_or(|applied| prefix > applied).then_some(prefix)
    }

    /// Whether nothing of it is under way, in lanes or in the database.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && !matches!(self.stage, Stage::Taking | Stage::Skipping)
    }

    /// Whether the log and the database know what is done.
    pub(super) fn is_settled(&self) -> bool {
        self.watermark.committable().is_none() && self.ahead().is_none()
    }
}
