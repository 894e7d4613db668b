//! Partitions that have records and give none.

use std::{collections::BTreeMap, time::Duration};

use crate::{message::TopicPartition, time::Timestamp};

/// How a partition is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset that will be taken from it.
    pub next: i64,
    /// The end of what can be read of it.
    pub end: i64,
    /// Whether more of it is wanted: a partition that is paused because enough of it waits here does not stand still.
    pub wanted: bool,
}

/// A partition that stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stalled {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset that does not come.
    pub next: i64,
    /// The end of what can be read of it.
    pub end: i64,
    /// Since when nothing has come.
    pub since: Timestamp,
}

/// Watches partitions for those that have records and give none.
#[derive(Debug, Default)]
pub struct Stalls(BTreeMap<TopicPartition, (i64, Timestamp)>);

impl Stalls {
    /// Those of which nothing has come for `patience` though there is something. A partition that is not among `looks` is forgotten.
    pub fn look(&mut self, looks: impl IntoIterator<Item = Look>, now: Timestamp, patience: Duration) -> Vec<Stalled> {
        let before = std::mem::take(&mut self.0);
        let mut stalled = Vec::new();
        for Look { partition, next, end, wanted } in looks {
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

    fn look(next: i64, end: i64, wanted: bool) -> Look {
        Look { partition: TopicPartition::new("orders", 0), next, end, wanted }
    }

    /// After looks at these seconds, whether the partition stands still.
    fn stands_still(looks: &[(i64, Look)]) -> bool {
        let mut stalls = Stalls::default();
        let at = |second: i64| Timestamp::from_millis(second * 1_000);
        looks
            .iter()
            .map(|(second, look)| stalls.look([look.clone()], at(*second), PATIENCE))
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
        let mut stalls = Stalls::default();
        let at = Timestamp::from_millis;
        stalls.look([look(3, 5, true)], at(0), PATIENCE);
        stalls.look([], at(10_000), PATIENCE);
        assert_eq!(stalls.look([look(3, 5, true)], at(31_000), PATIENCE), []);
    }
}
