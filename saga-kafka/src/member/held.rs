//! The partitions of this member and their progress.

use std::time::Instant;

use saga_core::message::TopicPartition;

use super::commands::Asked;

/// A partition that the group has assigned to this member.
pub(super) struct Held {
    pub(super) partition: TopicPartition,
    pub(super) generation: u64,
    pub(super) run: u64,
    pub(super) stage: Stage,
    /// The offset of the next record; `None` is the oldest record.
    pub(super) next: Option<i64>,
    /// The client fetches the partition, unless it is paused.
    pub(super) assigned: bool,
    /// Fetching is paused, because the buffer is full.
    pub(super) paused: bool,
    /// When the partition was started or last made progress.
    pub(super) moved: Instant,
    /// The client's position before the last start. The client can still report this position after the start, so the position is
    /// ignored until it differs.
    pub(super) before: Option<i64>,
    /// The end of the partition when it was last restarted because no records came.
    pub(super) nudged_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waits for the runtime to start it.
    Idle,
    /// The committed offset of the group is requested. The request is repeated at this time if there is no answer.
    Locating(Instant),
    /// Is fetched.
    Reading,
    /// Is revoked, and being drained.
    Leaving,
}

impl Held {
    pub(super) fn new(partition: TopicPartition, generation: u64, now: Instant) -> Self {
        Self {
            partition,
            generation,
            run: 0,
            stage: Stage::Idle,
            next: None,
            assigned: false,
            paused: false,
            moved: now,
            before: None,
            nudged_at: None,
        }
    }

    pub(super) fn asked(&self) -> Asked {
        Asked { partition: self.partition.clone(), generation: self.generation, run: self.run }
    }

    /// Whether records are missing between the position and the records that exist.
    pub(super) fn has_gap(&self, oldest: i64, end: i64) -> bool {
        self.next.is_some_and(|next| next < oldest || next > end)
    }

    /// Whether the partition has records and none were fetched. After a restart that did not help, it counts again only when the
    /// end has moved.
    pub(super) fn stands_still(&self, oldest: i64, end: i64) -> bool {
        self.stage == Stage::Reading && !self.paused && self.next.unwrap_or(oldest) < end && self.nudged_at != Some(end)
    }

    /// Returns the new position if the client has passed offsets without a record and is at `position` now. The client hands out
    /// records and passes offsets in one order, so no record is skipped.
    pub(super) fn passes(&mut self, position: Option<i64>) -> Option<i64> {
        if self.before.is_some_and(|before| position == Some(before)) {
            return None;
        }
        self.before = None;
        let position = position?;
        if self.next.is_some_and(|next| position <= next) {
            return None;
        }
        self.next = Some(position);
        self.next
    }

    pub(super) fn is(&self, asked: &Asked) -> bool {
        self.generation == asked.generation && self.run == asked.run && self.partition == asked.partition
    }
}

/// All partitions of this member. There are tens of them, so a linear search is fast enough.
#[derive(Default)]
pub(super) struct AllHeld {
    all: Vec<Held>,
    /// The index of the last match: consecutive records are mostly of the same partition.
    last: usize,
}

impl AllHeld {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.all.iter_mut()
    }

    pub(super) fn find(&mut self, topic: &str, partition: i32) -> Option<&mut Held> {
        let is = |held: &Held| held.partition.partition == partition && held.partition.topic == topic;
        if !self.all.get(self.last).is_some_and(is) {
            self.last = self.all.iter().position(is)?;
        }
        self.all.get_mut(self.last)
    }

    pub(super) fn of(&mut self, partition: &TopicPartition) -> Option<&mut Held> {
        self.find(&partition.topic, partition.partition)
    }

    pub(super) fn insert(&mut self, held: Held) {
        self.all.push(held);
    }

    /// Removes these partitions, and returns them.
    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) -> Vec<Held> {
        self.all.extract_if(.., |held| partitions.contains(&held.partition)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    fn held(next: Option<i64>) -> Held {
        let partition = TopicPartition::new("orders", 0);
        Held { stage: Stage::Reading, next, ..Held::new(partition, 1, now()) }
    }

    #[test]
    fn where_records_are_missing() {
        for (next, oldest, end, gap) in [
            (Some(5), 0, 10, false),
            (Some(0), 0, 10, false),
            (Some(10), 0, 10, false),
            (Some(4), 5, 10, true),
            (Some(11), 0, 10, true),
            (Some(1), 0, 0, true),
            // Nothing was requested yet that could be missing.
            (None, 5, 10, false),
        ] {
            assert_eq!(held(next).has_gap(oldest, end), gap, "{next:?} of {oldest}..{end}");
        }
    }

    #[test]
    fn what_the_client_has_passed() {
        let mut held = held(Some(5));
        assert_eq!(held.passes(Some(5)), None, "where it is");
        assert_eq!(held.passes(None), None, "nothing is known");
        assert_eq!((held.passes(Some(7)), held.next), (Some(7), Some(7)));
        assert_eq!(held.passes(Some(7)), None, "once");
        assert_eq!(held.passes(Some(6)), None, "never back");
        // Restarted at an earlier offset; the client has not processed the restart yet.
        (held.next, held.before) = (Some(2), Some(7));
        assert_eq!(held.passes(Some(7)), None, "of before");
        assert_eq!(held.passes(None), None, "it has heard of it");
        assert_eq!((held.passes(Some(7)), held.next), (Some(7), Some(7)), "it came there again");
        // From the oldest record, whatever its offset.
        let mut held = Held { before: Some(3), ..super::tests::held(None) };
        assert_eq!((held.passes(Some(3)), held.passes(Some(4))), (None, Some(4)));
    }

    #[test]
    fn what_stands_still() {
        assert!(held(Some(5)).stands_still(0, 10) && held(None).stands_still(3, 10));
        assert!(!held(Some(10)).stands_still(0, 10) && !held(None).stands_still(10, 10), "nothing is there");
        assert!(!Held { paused: true, ..held(Some(5)) }.stands_still(0, 10), "nobody wants it");
        assert!(!Held { stage: Stage::Leaving, ..held(Some(5)) }.stands_still(0, 10), "it is given up");
        let nudged = Held { nudged_at: Some(10), ..held(Some(5)) };
        assert!(!nudged.stands_still(0, 10) && nudged.stands_still(0, 11), "once for each end");
    }
}
