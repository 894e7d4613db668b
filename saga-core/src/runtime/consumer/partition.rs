//! A partition that this member reads, from its assignment until it is given up.

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
    /// The log that its offsets are of, if that is known.
    pub(super) log: Option<Arc<str>>,
    /// The one that the database has.
    pub(super) noted: Option<Arc<str>>,
    /// The log is gone: how far it was is noted and committed nowhere any more.
    pub(super) gone: bool,
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
            log: None,
            noted: None,
            gone: false,
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
        self.noted = owned.log.as_deref().map(Arc::from);
        (self.log, self.gone) = (self.noted.clone(), false);
    }

    /// It was set to another place in the database, and is read from there.
    pub(super) fn set_to(&mut self, to: &Ownership) {
        self.read_from(to.applied);
        if let Some(log) = &to.log {
            self.noted = Some(log.as_str().into());
            (self.log, self.gone) = (self.noted.clone(), false);
        }
    }

    /// Compares the log that its offsets are of with the one that the topic is `now`; says whether it is gone.
    pub(super) fn compare(&mut self, now: Option<&Arc<str>>) -> bool {
        let read = self.applied.is_some() || self.watermark.next().is_some();
        match identity::compare(self.log.as_deref(), now.map(|now| &**now), read) {
            Verdict::Stands => {}
            Verdict::Learned => self.log = now.cloned(),
            Verdict::Recreated => self.gone = true,
        }
        self.gone
    }

    /// It is read from `applied` on.
    pub(super) fn read_from(&mut self, applied: Option<i64>) {
        (self.watermark, self.applied) = (applied.map_or_else(Watermark::default, Watermark::starting_at), applied);
    }

    /// It is to be taken over, again, at `at`. What is under way of it has no effect any more.
    pub(super) fn want(&mut self, at: Timestamp) {
        (self.stage, self.running, self.replay) = (Stage::Wanted(at), 0, None);
        (self.log, self.noted, self.gone) = (None, None, false);
        self.read_from(None);
        self.setbacks = self.setbacks.saturating_add(1);
    }

    /// Whether messages of it may be handled: it was taken over, and nobody wants it.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Reading | Stage::Gap(_)) && self.revoked.is_none()
    }

    /// The offset before which all is done, and the log that it is of, if the database does not know that.
    pub(super) fn ahead(&self) -> Option<(Option<i64>, Option<&Arc<str>>)> {
        if self.gone || !matches!(self.stage, Stage::Reading | Stage::Gap(_)) {
            return None;
        }
        let prefix = self.watermark.prefix().filter(|prefix| self.applied.is_none_or(|applied| *prefix > applied));
        (prefix.is_some() || self.log != self.noted).then_some((prefix, self.log.as_ref()))
    }

    /// The offset to commit, if the log does not know it.
    pub(super) fn committable(&self) -> Option<i64> {
        self.watermark.committable().filter(|_| !self.gone)
    }

    /// Whether nothing of it is under way, in lanes or in the database.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && !matches!(self.stage, Stage::Taking | Stage::Skipping)
    }

    /// Whether the log and the database know what is done.
    pub(super) fn is_settled(&self) -> bool {
        // Of which log it is, whoever reads it next learns by himself.
        self.committable().is_none() && self.ahead().is_none_or(|(applied, _)| applied.is_none())
    }
}
