//! The assignment of partitions to the members of a group.

use std::collections::BTreeMap;

/// Distributes partitions over members. The numbers of partitions differ by at most one wherever the subscriptions allow it, and only
/// partitions that must move are moved.
///
/// For each partition, `partitions` has the member that reads it now, if that member may keep it, and the members that can read it. The
/// result has the assigned member of each partition, in the same order; `None` if no member can read it.
pub(super) fn assign(partitions: &[(Option<u64>, Vec<u64>)]) -> Vec<Option<u64>> {
    let mut loads: BTreeMap<u64, usize> = BTreeMap::new();
    let mut target: Vec<Option<u64>> = Vec::with_capacity(partitions.len());
    for (reader, candidates) in partitions {
        for candidate in candidates {
            loads.entry(*candidate).or_default();
        }
        let kept = reader.filter(|reader| candidates.contains(reader));
        if let Some(load) = kept.and_then(|reader| loads.get_mut(&reader)) {
            *load += 1;
        }
        target.push(kept);
    }
    for (at, (_, candidates)) in partitions.iter().enumerate() {
        if target[at].is_none()
            && let Some(idlest) = idlest(&loads, candidates)
        {
            target[at] = Some(idlest);
            *loads.entry(idlest).or_default() += 1;
        }
    }
    // Terminates: a member that gives a partition away has at least two more than the member that gets it.
    let mut moved = true;
    while moved {
        moved = false;
        for (at, (_, candidates)) in partitions.iter().enumerate().rev() {
            if let (Some(reader), Some(idlest)) = (target[at], idlest(&loads, candidates))
                && loads[&reader] > loads[&idlest] + 1
            {
                target[at] = Some(idlest);
                *loads.entry(reader).or_default() -= 1;
                *loads.entry(idlest).or_default() += 1;
                moved = true;
            }
        }
    }
    target
}

fn idlest(loads: &BTreeMap<u64, usize>, candidates: &[u64]) -> Option<u64> {
    candidates.iter().copied().min_by_key(|candidate| (loads.get(candidate).copied().unwrap_or(0), *candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(target: &[Option<u64>], member: u64) -> usize {
        target.iter().filter(|reader| **reader == Some(member)).count()
    }

    #[test]
    fn a_lone_member_reads_everything() {
        assert_eq!(assign(&[(None, vec![1]), (None, vec![1])]), [Some(1), Some(1)]);
    }

    #[test]
    fn a_second_member_gets_half_and_nothing_else_moves() {
        let now = vec![(Some(1), vec![1, 2]); 6];
        assert_eq!(assign(&now), [Some(1), Some(1), Some(1), Some(2), Some(2), Some(2)]);
    }

    #[test]
    fn what_is_even_stays() {
        let now = [(Some(2), vec![1, 2]), (Some(1), vec![1, 2]), (Some(2), vec![1, 2])];
        assert_eq!(assign(&now), [Some(2), Some(1), Some(2)]);
    }

    #[test]
    fn the_partitions_of_one_that_left_are_shared_out() {
        let now = [(Some(1), vec![1, 2]), (None, vec![1, 2]), (None, vec![1, 2]), (Some(2), vec![1, 2])];
        let target = assign(&now);
        assert_eq!((target[0], target[3]), (Some(1), Some(2)));
        assert_eq!((count(&target, 1), count(&target, 2)), (2, 2));
    }

    #[test]
    fn nobody_gets_a_topic_it_did_not_subscribe_to() {
        let now = [(None, vec![1]), (None, vec![1]), (None, vec![1]), (None, vec![1, 2])];
        assert_eq!(assign(&now), [Some(1), Some(1), Some(1), Some(2)]);
    }

    #[test]
    fn a_partition_nobody_can_read_has_no_reader() {
        assert_eq!(assign(&[(Some(1), vec![])]), [None]);
    }

    #[test]
    fn one_partition_topics_are_spread_too() {
        let target = assign(&vec![(None, vec![1, 2, 3]); 9]);
        assert_eq!((count(&target, 1), count(&target, 2), count(&target, 3)), (3, 3, 3));
    }
}
