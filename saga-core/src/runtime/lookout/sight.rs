//! What the consumer and the measuring of the lag see of the log, for the lookout.

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

/// After this long without an error of the subscription its errors are over: an error that lasts comes again and again, at the latest
/// after the longest wait of the consumer.
const SILENCE: Duration = Duration::from_secs(5);

/// Something that fails again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    pub(super) since: Timestamp,
    /// When it failed last.
    last: Timestamp,
    pub(super) error: String,
}

/// Where a partition is that this process reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The next offset to be taken, if that is known.
    pub(crate) next: Option<i64>,
    /// Whether more of it is wanted now.
    pub(crate) wanted: bool,
}

/// What was seen last.
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

    /// The subscription answered with an error. Says whether it is the first of several.
    pub(crate) fn unreadable(&self, error: &TransportError, now: Timestamp) -> bool {
        let mut seen = self.seen();
        seen.reading.take_if(|failing| now.since(failing.last) >= SILENCE);
        fail(&mut seen.reading, error.to_string(), now)
    }

    /// The subscription gave something.
    pub(crate) fn readable(&self) {
        self.seen().reading = None;
    }

    /// What keeps the subscription from being read, at `now`.
    pub(super) fn reading(&self, now: Timestamp) -> Option<Failing> {
        self.seen().reading.clone().filter(|failing| now.since(failing.last) < SILENCE)
    }

    /// Offsets were committed, or not.
    pub(crate) fn committed(&self, result: Result<(), &TransportError>, now: Timestamp) {
        let commits = &mut self.seen().commits;
        match result {
            Ok(()) => *commits = None,
            Err(error) => {
                fail(commits, error.to_string(), now);
            }
        }
    }

    /// What keeps offsets from being committed.
    pub(super) fn commits(&self) -> Option<Failing> {
        self.seen().commits.clone()
    }

    /// Where the partitions of this process are.
    pub(crate) fn reads(&self, partitions: BTreeMap<TopicPartition, Reading>) {
        self.seen().partitions = partitions;
    }

    /// How far the group is.
    pub(crate) fn measured(&self, lags: &[GroupLag]) {
        self.seen().lags = lags.to_vec();
    }

    /// How far the group was when that was measured last, and where this process is on each partition that it reads.
    pub(super) fn positions(&self) -> Vec<(GroupLag, Option<Reading>)> {
        let seen = self.seen();
        seen.lags.iter().map(|lag| (lag.clone(), seen.partitions.get(&lag.partition).copied())).collect()
    }
}

/// Records a failure; says whether it is the first.
fn fail(failing: &mut Option<Failing>, error: String, now: Timestamp) -> bool {
    let since = failing.as_ref().map(|failing| failing.since);
    *failing = Some(Failing { since: since.unwrap_or(now), last: now, error });
    since.is_none()
}
