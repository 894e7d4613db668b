//! A partition of this member, from its assignment to its release.

use std::sync::Arc;

use super::replay::Replaying;
use crate::{
    engine::{
        identity::{self, Verdict},
        watermark::Watermark,
    },
    message::TopicPartition,
    runtime::{core::Core, metrics::PartitionSeries},
    store::Ownership,
    time::Timestamp,
};

/// The state of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waits to be acquired in the database, at this time.
    PendingAcquire(Timestamp),
    /// Is being acquired.
    Acquiring,
    /// Is being read.
    Reading,
    /// Has a gap. With a time, the partition continues from the oldest record then, once its earlier messages are done.
    Gap(Option<Timestamp>),
    /// Is being set to another offset: to its oldest record, or by a step of a replay.
    Skipping,
}

/// A partition that this member reads.
pub(super) struct Owned {
    pub(super) stage: Stage,
    /// The epoch of the last acquisition; 0 before the first.
    pub(super) epoch: i64,
    /// The watermark of what was delivered under this epoch.
    pub(super) watermark: Watermark,
    /// The applied offset as the database has it.
    pub(super) applied: Option<i64>,
    /// The identity of the log that its offsets belong to, if known.
    pub(super) log: Option<Arc<str>>,
    /// The identity of the log as the database has it.
    pub(super) stored_log: Option<Arc<str>>,
    /// Whether that log no longer exists. Its offsets are then neither written to the database nor committed.
    pub(super) recreated: bool,
    /// The number of running messages of this epoch.
    pub(super) running: usize,
    /// When the partition was revoked; since then nothing new is started.
    pub(super) revoked: Option<Timestamp>,
    /// The number of consecutive failures to acquire or move the partition, including its losses to another process.
    pub(super) setbacks: u32,
    /// The replay in progress.
    pub(super) replay: Option<Box<Replaying>>,
    pub(super) series: PartitionSeries,
}

impl Owned {
    /// Returns a partition that was just assigned.
    pub(super) fn new(core: &Core, partition: &TopicPartition) -> Self {
        Self {
            stage: Stage::PendingAcquire(core.clock.now()),
            epoch: 0,
            watermark: Watermark::default(),
            applied: None,
            log: None,
            stored_log: None,
            recreated: false,
            running: 0,
            revoked: None,
            setbacks: 0,
            replay: None,
            series: PartitionSeries::new(&core.metrics, &partition.topic, partition.partition),
        }
    }

    /// Starts reading after the acquisition.
    pub(super) fn begin(&mut self, owned: &Ownership) {
        (self.stage, self.epoch, self.running) = (Stage::Reading, owned.epoch, 0);
        self.read_from(owned.applied);
        self.stored_log = owned.log.as_deref().map(Arc::from);
        (self.log, self.recreated) = (self.stored_log.clone(), false);
    }

    /// Continues from another offset, which has been written to the database.
    pub(super) fn set_to(&mut self, to: &Ownership) {
        self.read_from(to.applied);
        if let Some(log) = &to.log {
            self.stored_log = Some(log.as_str().into());
            (self.log, self.recreated) = (self.stored_log.clone(), false);
        }
    }

    /// Compares the identity of the topic that its offsets belong to with the topic's `current` identity. Returns whether the topic was
    /// recreated.
    pub(super) fn check_recreated(&mut self, current: Option<&Arc<str>>) -> bool {
        let read = self.applied.is_some() || self.watermark.next().is_some();
        match identity::compare(self.log.as_deref(), current.map(|current| &**current), read) {
            Verdict::Stands => {}
            Verdict::Learned => self.log = current.cloned(),
            Verdict::Recreated => self.recreated = true,
        }
        self.recreated
    }

    /// Continues from `applied`, with an empty watermark.
    pub(super) fn read_from(&mut self, applied: Option<i64>) {
        (self.watermark, self.applied) = (applied.map_or_else(Watermark::default, Watermark::starting_at), applied);
    }

    /// Schedules the next acquisition for `at`, after a failure or a loss. Running work of the previous epoch no longer has any effect.
    pub(super) fn schedule_acquire(&mut self, at: Timestamp) {
        (self.stage, self.running, self.replay) = (Stage::PendingAcquire(at), 0, None);
        (self.log, self.stored_log, self.recreated) = (None, None, false);
        self.read_from(None);
        self.setbacks = self.setbacks.saturating_add(1);
    }

    /// Whether its messages can be handled: it is acquired and not revoked.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Reading | Stage::Gap(_)) && self.revoked.is_none()
    }

    /// The applied offset and the identity of the log, if the database does not have them yet.
    pub(super) fn unsaved_progress(&self) -> Option<(Option<i64>, Option<&Arc<str>>)> {
        if self.recreated || !matches!(self.stage, Stage::Reading | Stage::Gap(_)) {
            return None;
        }
        let prefix = self.watermark.prefix().filter(|prefix| self.applied.is_none_or(|applied| *prefix > applied));
        (prefix.is_some() || self.log != self.stored_log).then_some((prefix, self.log.as_ref()))
    }

    /// The offset to commit, if the log does not have it yet.
    pub(super) fn committable(&self) -> Option<i64> {
        self.watermark.committable().filter(|_| !self.recreated)
    }

    /// Whether none of its work is in progress, neither in lanes nor in the database.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && !matches!(self.stage, Stage::Acquiring | Stage::Skipping)
    }

    /// Whether the log and the database have the offsets of what is done.
    pub(super) fn is_settled(&self) -> bool {
        // The identity of the log is not needed: the next owner asks for it.
        self.committable().is_none() && self.unsaved_progress().is_none_or(|(applied, _)| applied.is_none())
    }
}
