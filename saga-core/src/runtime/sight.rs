//! What the consumer and the measurement of lag observe of the log, for the log monitor.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    message::TopicPartition,
    time::Timestamp,
    transport::{GroupLag, TransportError},
};

/// How long the subscription must be without an error until it counts as working. An error that lasts is repeated within this time, because
/// the longest wait of the consumer is shorter.
const SILENCE: Duration = Duration::from_secs(5);

/// A repeated failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    pub(super) since: Timestamp,
    /// The time of the last failure.
    last: Timestamp,
    pub(super) error: String,
}

/// The position of a partition that this process reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The next offset to be delivered, if known.
    pub(crate) next: Option<i64>,
    /// Whether the consumer can take more records of it now.
    pub(crate) wanted: bool,
}

/// The latest observations.
#[derive(Default)]
pub(crate) struct Sight(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    reading: Option<Failing>,
    commits: Option<Failing>,
    partitions: BTreeMap<TopicPartition, Reading>,
    lags: Vec<GroupLag>,
}

impl Sight {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an error of the subscription. Returns whether it is the first of several.
    pub(crate) fn unreadable(&self, error: &TransportError, now: Timestamp) -> bool {
        let mut seen = self.seen();
        seen.reading.take_if(|failing| now.since(failing.last) >= SILENCE);
        fail(&mut seen.reading, error.to_string(), now)
    }

    /// Records that the subscription delivered something.
    pub(crate) fn readable(&self) {
        self.seen().reading = None;
    }

    /// Returns the current error of the subscription, as of `now`.
    pub(super) fn reading(&self, now: Timestamp) -> Option<Failing> {
        self.seen().reading.clone().filter(|failing| now.since(failing.last) < SILENCE)
    }

    /// Records the result of a commit.
    pub(crate) fn committed(&self, result: Result<(), &TransportError>, now: Timestamp) {
        let commits = &mut self.seen().commits;
        match result {
            Ok(()) => *commits = None,
            Err(error) => {
                fail(commits, error.to_string(), now);
            }
        }
    }

    /// Returns the current error of commits.
    pub(super) fn commits(&self) -> Option<Failing> {
        self.seen().commits.clone()
    }

    /// Records the positions of the partitions of this process.
    pub(crate) fn reads(&self, partitions: BTreeMap<TopicPartition, Reading>) {
        self.seen().partitions = partitions;
    }

    /// Records the measured lag of the group.
    pub(crate) fn measured(&self, lags: &[GroupLag]) {
        self.seen().lags = lags.to_vec();
    }

    /// Returns the last measured lag of the group and, for each partition that this process reads, its position.
    pub(super) fn positions(&self) -> Vec<(GroupLag, Option<Reading>)> {
        let seen = self.seen();
        seen.lags.iter().map(|lag| (lag.clone(), seen.partitions.get(&lag.partition).copied())).collect()
    }
}

/// Records a failure. Returns whether it is the first.
fn fail(failing: &mut Option<Failing>, error: String, now: Timestamp) -> bool {
    let since = failing.as_ref().map(|failing| failing.since);
    *failing = Some(Failing { since: since.unwrap_or(now), last: now, error });
    since.is_none()
}
