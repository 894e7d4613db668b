//! Which partitions are paused, and why.
//!
//! What a service has taken and not yet done is bounded in messages and bytes. When the bound is reached every partition pauses
//! (else each of many partitions would add a fetch of its own on top), and all resume when half of it is free. A partition can have several reasons to pause; it runs again when it has none.

use std::collections::{BTreeMap, BTreeSet};

use crate::message::TopicPartition;

/// Why a partition is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Too much was taken and is not done.
    Full,
    /// One of its keys has too many parked messages.
    Parked,
    /// A message holds back too many others that are done.
    Window,
    /// It is not to be read where it is.
    Gap,
}

/// What to tell the subscription.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Partitions to pause.
    pub pause: Vec<TopicPartition>,
    /// Partitions to resume.
    pub resume: Vec<TopicPartition>,
}

/// The load of a service and the partitions paused for it.
#[derive(Debug)]
pub struct Flow {
    max_messages: usize,
    max_bytes: usize,
    messages: usize,
    bytes: usize,
    reasons: BTreeMap<TopicPartition, BTreeSet<Reason>>,
    changes: Changes,
}

impl Flow {
    /// A flow that takes at most about `max_messages` messages and `max_bytes` bytes.
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { max_messages, max_bytes, messages: 0, bytes: 0, reasons: BTreeMap::new(), changes: Changes::default() }
    }

    /// Takes note of messages taken from `partition`.
    pub fn took(&mut self, partition: &TopicPartition, messages: usize, bytes: usize) {
        self.messages += messages;
        self.bytes += bytes;
        if self.is_full() {
            self.hold(partition, Reason::Full);
        }
    }

    /// Whether nothing more is to be taken.
    pub fn is_full(&self) -> bool {
        self.messages >= self.max_messages || self.bytes >= self.max_bytes
    }

    /// Takes note of messages that are done or given back.
    pub fn done(&mut self, messages: usize, bytes: usize) {
        self.messages = self.messages.saturating_sub(messages);
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.messages <= self.max_messages / 2 && self.bytes <= self.max_bytes / 2 {
            self.free_all(Reason::Full);
        }
    }

    /// Pauses `partition` for `reason`.
    pub fn hold(&mut self, partition: &TopicPartition, reason: Reason) {
        let reasons = self.reasons.entry(partition.clone()).or_default();
        if reasons.is_empty() {
            self.changes.pause.push(partition.clone());
        }
        reasons.insert(reason);
    }

    /// Takes `reason` from `partition`.
    pub fn free(&mut self, partition: &TopicPartition, reason: Reason) {
        if let Some(reasons) = self.reasons.get_mut(partition) {
            reasons.remove(&reason);
            if reasons.is_empty() {
                self.reasons.remove(partition);
                self.changes.resume.push(partition.clone());
            }
        }
    }

    /// Takes `reason` from every partition.
    pub fn free_all(&mut self, reason: Reason) {
        let held: Vec<_> = self.reasons.iter().filter(|(_, all)| all.contains(&reason)).map(|(at, _)| at.clone()).collect();
        held.iter().for_each(|partition| self.free(partition, reason));
    }

    /// Forgets partitions that are another member's now.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        self.reasons.retain(|partition, _| !partitions.contains(partition));
    }

    /// What has changed since the last call. A partition that was paused and resumed in between is in neither list.
    pub fn changes(&mut self) -> Changes {
        let Changes { pause, resume } = std::mem::take(&mut self.changes);
        let paused = |partition: &TopicPartition| self.reasons.contains_key(partition);
        let dedup = |list: Vec<TopicPartition>| list.into_iter().collect::<BTreeSet<_>>();
        let (pause, resume) = (dedup(pause), dedup(resume));
        Changes {
            pause: pause.iter().filter(|at| paused(at)).cloned().collect(),
            resume: resume.iter().filter(|at| !paused(at)).cloned().collect(),
        }
    }

    /// Whether `partition` is paused.
    pub fn is_held(&self, partition: &TopicPartition) -> bool {
        self.reasons.contains_key(partition)
    }

    /// How many partitions are paused.
    pub fn paused(&self) -> usize {
        self.reasons.len()
    }

    /// Messages taken and not done.
    pub fn messages(&self) -> usize {
        self.messages
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
        let mut flow = Flow::new(10, 1_000);
        flow.took(&partition(0), 9, 10);
        assert_eq!(flow.changes(), Changes::default());
        flow.took(&partition(1), 1, 10);
        assert_eq!(flow.changes().pause, [partition(1)]);
        flow.done(4, 0);
        assert_eq!(flow.changes(), Changes::default());
        flow.done(1, 0);
        assert_eq!(flow.changes().resume, [partition(1)]);
    }

    #[test]
    fn bytes_count_like_messages() {
        let mut flow = Flow::new(10, 1_000);
        flow.took(&partition(0), 1, 1_000);
        assert_eq!(flow.changes().pause, [partition(0)]);
        flow.done(1, 1_000);
        assert_eq!(flow.changes().resume, [partition(0)]);
    }

    #[test]
    fn a_partition_runs_when_its_last_reason_is_gone() {
        let mut flow = Flow::new(1, 1_000);
        flow.hold(&partition(0), Reason::Parked);
        flow.took(&partition(0), 1, 1);
        assert_eq!(flow.changes().pause, [partition(0)]);
        flow.done(1, 1);
        assert_eq!(flow.changes(), Changes::default());
        flow.free(&partition(0), Reason::Parked);
        assert_eq!(flow.changes().resume, [partition(0)]);
    }

    #[test]
    fn pause_and_resume_in_one_go_cancel_out() {
        let mut flow = Flow::new(1, 1_000);
        flow.took(&partition(0), 1, 1);
        flow.done(1, 1);
        let changes = flow.changes();
        assert_eq!((changes.pause.len(), flow.paused()), (0, 0));
    }
}
