//! Which partitions are paused, and why.
//!
//! The unfinished messages of a service are limited, in number and in bytes. At a limit all partitions are paused: if only the one that
//! reached it were, each of many partitions could exceed the limit by one more fetch. They resume when half of the limit is free. A
//! partition can have several reasons to be paused; it resumes when it has none.

use std::collections::{BTreeMap, BTreeSet};

use crate::message::TopicPartition;

/// Why a partition is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PauseReason {
    /// The service has as many unfinished messages as a limit allows.
    Full,
    /// One of its keys has too many parked messages, or the service has too many parked keys.
    Parked,
    /// An unfinished message holds back the watermark, and too many later messages are done.
    Window,
    /// The partition must not be read from its position, for example because of a gap.
    Gap,
}

/// The changes to apply to the subscription.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PauseChanges {
    /// The partitions to pause.
    pub pause: Vec<TopicPartition>,
    /// The partitions to resume.
    pub resume: Vec<TopicPartition>,
}

/// The unfinished messages of a service, and the partitions that are paused.
#[derive(Debug)]
pub struct Backpressure {
    max_messages: usize,
    max_bytes: usize,
    messages: usize,
    bytes: usize,
    reasons: BTreeMap<TopicPartition, BTreeSet<PauseReason>>,
    changes: PauseChanges,
}

impl Backpressure {
    /// Creates the state with limits of about `max_messages` messages and `max_bytes` bytes.
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { max_messages, max_bytes, messages: 0, bytes: 0, reasons: BTreeMap::new(), changes: PauseChanges::default() }
    }

    /// Records that messages were taken from `partition`.
    pub fn record_taken(&mut self, partition: &TopicPartition, messages: usize, bytes: usize) {
        self.messages += messages;
        self.bytes += bytes;
        if self.is_full() {
            self.pause(partition, PauseReason::Full);
        }
    }

    /// Returns whether a limit is reached.
    pub fn is_full(&self) -> bool {
        self.messages >= self.max_messages || self.bytes >= self.max_bytes
    }

    /// Records that messages are done, or have been dropped from memory.
    pub fn record_done(&mut self, messages: usize, bytes: usize) {
        self.messages = self.messages.saturating_sub(messages);
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.messages <= self.max_messages / 2 && self.bytes <= self.max_bytes / 2 {
            self.resume_all(PauseReason::Full);
        }
    }

    /// Pauses `partition` for `reason`.
    pub fn pause(&mut self, partition: &TopicPartition, reason: PauseReason) {
        let reasons = self.reasons.entry(partition.clone()).or_default();
        if reasons.is_empty() {
            self.changes.pause.push(partition.clone());
        }
        reasons.insert(reason);
    }

    /// Removes `reason` from `partition`.
    pub fn resume(&mut self, partition: &TopicPartition, reason: PauseReason) {
        if let Some(reasons) = self.reasons.get_mut(partition) {
            reasons.remove(&reason);
            if reasons.is_empty() {
                self.reasons.remove(partition);
                self.changes.resume.push(partition.clone());
            }
        }
    }

    /// Removes `reason` from all partitions.
    pub fn resume_all(&mut self, reason: PauseReason) {
        let held: Vec<_> = self.reasons.iter().filter(|(_, all)| all.contains(&reason)).map(|(at, _)| at.clone()).collect();
        held.iter().for_each(|partition| self.resume(partition, reason));
    }

    /// Forgets partitions that this process no longer owns.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        self.reasons.retain(|partition, _| !partitions.contains(partition));
    }

    /// Returns the changes since the last call. A partition that was paused and resumed in between is in neither list.
    pub fn take_changes(&mut self) -> PauseChanges {
        let PauseChanges { pause, resume } = std::mem::take(&mut self.changes);
        let paused = |partition: &TopicPartition| self.reasons.contains_key(partition);
        let dedup = |list: Vec<TopicPartition>| list.into_iter().collect::<BTreeSet<_>>();
        let (pause, resume) = (dedup(pause), dedup(resume));
        PauseChanges {
            pause: pause.iter().filter(|at| paused(at)).cloned().collect(),
            resume: resume.iter().filter(|at| !paused(at)).cloned().collect(),
        }
    }

    /// Returns whether `partition` is paused.
    pub fn is_paused(&self, partition: &TopicPartition) -> bool {
        self.reasons.contains_key(partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("orders", number)
    }

    #[test]
    fn the_filling_partition_pauses_until_half_is_free() {
        let mut backpressure = Backpressure::new(10, 1_000);
        backpressure.record_taken(&partition(0), 9, 10);
        assert_eq!(backpressure.take_changes(), PauseChanges::default());
        backpressure.record_taken(&partition(1), 1, 10);
        assert_eq!(backpressure.take_changes().pause, [partition(1)]);
        backpressure.record_done(4, 0);
        assert_eq!(backpressure.take_changes(), PauseChanges::default());
        backpressure.record_done(1, 0);
        assert_eq!(backpressure.take_changes().resume, [partition(1)]);
    }

    #[test]
    fn bytes_count_like_messages() {
        let mut backpressure = Backpressure::new(10, 1_000);
        backpressure.record_taken(&partition(0), 1, 1_000);
        assert_eq!(backpressure.take_changes().pause, [partition(0)]);
        backpressure.record_done(1, 1_000);
        assert_eq!(backpressure.take_changes().resume, [partition(0)]);
    }

    #[test]
    fn a_partition_runs_when_its_last_reason_is_gone() {
        let mut backpressure = Backpressure::new(1, 1_000);
        backpressure.pause(&partition(0), PauseReason::Parked);
        backpressure.record_taken(&partition(0), 1, 1);
        assert_eq!(backpressure.take_changes().pause, [partition(0)]);
        backpressure.record_done(1, 1);
        assert_eq!(backpressure.take_changes(), PauseChanges::default());
        backpressure.resume(&partition(0), PauseReason::Parked);
        assert_eq!(backpressure.take_changes().resume, [partition(0)]);
    }

    #[test]
    fn pause_and_resume_in_one_go_cancel_out() {
        let mut backpressure = Backpressure::new(1, 1_000);
        backpressure.record_taken(&partition(0), 1, 1);
        backpressure.record_done(1, 1);
        let changes = backpressure.take_changes();
        assert_eq!((changes.pause.len(), backpressure.reasons.len()), (0, 0));
    }
}
