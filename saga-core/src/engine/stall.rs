//! Partitions that have records and deliver none.

use std::{collections::BTreeMap, time::Duration};

use crate::{message::TopicPartition, time::Timestamp};

/// The state of a partition at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset to be received from it.
    pub next: i64,
    /// The end of its readable records.
    pub end: i64,
    /// Whether the service reads from it. A paused partition is not stalled.
    pub wanted: bool,
}

/// A stalled partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stalled {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset that is not delivered.
    pub next: i64,
    /// The end of its readable records.
    pub end: i64,
    /// When the partition was last seen to make progress.
    pub since: Timestamp,
}

/// Detects partitions that have records and deliver none.
#[derive(Debug, Default)]
pub struct StallDetector(BTreeMap<TopicPartition, (i64, Timestamp)>);

impl StallDetector {
    /// Returns the partitions that have records and have delivered none for `patience`.
    ///
    /// Partitions that are not among `looks` are forgotten.
    pub fn update(
        &mut self,
        looks: impl IntoIterator<Item = PartitionState>,
        now: Timestamp,
        patience: Duration,
    ) -> Vec<Stalled> {
        let before = std::mem::take(&mut self.0);
        let mut stalled = Vec::new();
        for PartitionState { partition, next, end, wanted } in looks {
            if !wanted || next >= end {
                continue;
            }
            let since = before.get(&partition).filter(|(at, _)| *at == next).map_or(now, |(_, since)| (*since).min(now));
            if now.since(since) >= patience {
                stalled.push(Stalled { partition: partition.clone(), next, end, since });
            }
            self.0.insert(partition, (next, since));
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn look(next: i64, end: i64, wanted: bool) -> PartitionState {
        PartitionState { partition: TopicPartition::new("orders", 0), next, end, wanted }
    }

    /// Returns whether the partition is stalled after updates at these seconds.
    fn stands_still(looks: &[(i64, PartitionState)]) -> bool {
        let mut stalls = StallDetector::default();
        let at = |second: i64| Timestamp::from_millis(second * 1_000);
        looks
            .iter()
            .map(|(second, look)| stalls.update([look.clone()], at(*second), PATIENCE))
            .last()
            .is_some_and(|now| !now.is_empty())
    }

    #[test]
    fn what_stands_still() {
        for (looks, expected, why) in [
            (vec![(0, look(3, 5, true))], false, "not yet"),
            (vec![(0, look(3, 5, true)), (29, look(3, 5, true))], false, "not yet"),
            (vec![(0, look(3, 5, true)), (30, look(3, 5, true))], true, "nothing came"),
            (vec![(0, look(3, 5, true)), (30, look(3, 900, true))], true, "nothing came, and more waits"),
            (vec![(0, look(3, 5, true)), (20, look(4, 5, true)), (31, look(4, 5, true))], false, "something came"),
            (vec![(0, look(3, 5, true)), (20, look(5, 5, true)), (31, look(5, 6, true))], false, "all came, and then more"),
            (vec![(0, look(5, 5, true)), (60, look(5, 5, true))], false, "there is nothing"),
            (vec![(0, look(3, 5, true)), (20, look(3, 5, false)), (31, look(3, 5, true))], false, "nothing was wanted"),
            (vec![(0, look(9, 5, true)), (60, look(9, 5, true))], false, "a gap, which is told otherwise"),
            (vec![(50, look(3, 5, true)), (0, look(3, 5, true)), (30, look(3, 5, true))], true, "the clock went back"),
        ] {
            assert_eq!(stands_still(&looks), expected, "{why}: {looks:?}");
        }
    }

    #[test]
    fn a_partition_that_went_away_is_forgotten() {
        let mut stalls = StallDetector::default();
        let at = Timestamp::from_millis;
        stalls.update([look(3, 5, true)], at(0), PATIENCE);
        stalls.update([], at(10_000), PATIENCE);
        assert_eq!(stalls.update([look(3, 5, true)], at(31_000), PATIENCE), []);
    }
}
