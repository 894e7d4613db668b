//! The partitions that are this member's, and how far each is.

use std::time::Instant;

use saga_core::message::TopicPartition;

use super::orders::Asked;

/// A partition that the group has given to this member.
pub(super) struct Held {
    pub(super) partition: TopicPartition,
    pub(super) generation: u64,
    pub(super) run: u64,
    pub(super) stage: Stage,
    /// The next offset to be taken; `None`: the oldest there is.
    pub(super) next: Option<i64>,
    /// The client fetches it, unless it is paused.
    pub(super) assigned: bool,
    /// Its fetching is paused, because enough of it waits.
    pub(super) paused: bool,
    /// When it was started or something of it was taken.
    pub(super) moved: Instant,
    /// Where the client stood before the last start, if it may still say so: until it says something else, that is not to be believed.
    pub(super) before: Option<i64>,
    /// The end of the partition when it was started again because nothing came.
    pub(super) nudged_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waits for the runtime to say from where.
    Idle,
    /// Is looked up: from where the group has committed. Again at this time, when there is no answer by then.
    Locating(Instant),
    /// Is read.
    Reading,
    /// Is wanted by another member.
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

    /// Whether records are missing between where it is and what there is.
    pub(super) fn has_gap(&self, oldest: i64, end: i64) -> bool {
        self.next.is_some_and(|next| next < oldest || next > end)
    }

    /// Whether it should have given records and did not. After a start that changed nothing only a later end counts.
    pub(super) fn stands_still(&self, oldest: i64, end: i64) -> bool {
        self.stage == Stage::Reading && !self.paused && self.next.unwrap_or(oldest) < end && self.nudged_at != Some(end)
    }

    /// Where it stands now, if the client has passed offsets that have no record, and stands at `position`. What the client hands
    /// out and what it passes come in one order, so no record lies between.
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

/// All of them. There are tens, so that looking through them is as good as anything.
#[derive(Default)]
pub(super) struct AllHeld {
    all: Vec<Held>,
    /// Where the last one was found: records come in runs.
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

    /// Takes these out.
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
            // Nothing was wanted yet that could be missing.
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
        // It is started again, further back, and the client has not heard of it yet.
        (held.next, held.before) = (Some(2), Some(7));
        assert_eq!(held.passes(Some(7)), None, "of before");
        assert_eq!(held.passes(None), None, "it has heard of it");
        assert_eq!((held.passes(Some(7)), held.next), (Some(7), Some(7)), "it came there again");
        // From the oldest record, whichever that is.
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
