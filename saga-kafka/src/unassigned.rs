//! Detects partitions that no member of a stable group has, although members subscribe to their topic.
//!
//! The leader of a group assigns the partitions that exist at that moment. librdkafka's leader watches the topics that it subscribes to
//! itself, and each member of a process subscribes to one topic (docs/decisions/0018-consumer-group-members.md). If a topic of another
//! member is created or gets more partitions later, that member joins again, but the coordinator starts a rebalance for it only if its
//! subscription or its partitions differ from those of its last join. Otherwise the new partitions have no member until a member joins
//! or leaves. A member that leaves and joins again corrects this.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use saga_core::message::TopicPartition;

use crate::group::Group;

/// Added to the drain timeout, during which a partition that goes from one member to another belongs to neither.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

/// The topics of a group with such partitions, and since when.
#[derive(Default)]
pub(crate) struct Unassigned(BTreeMap<String, Instant>);

/// A member that must leave the group and join it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejoin {
    pub(crate) topic: String,
    /// Of all processes, one acts: that of this member.
    pub(crate) member: String,
    /// The partitions that no member has.
    pub(crate) partitions: Vec<i32>,
}

impl Unassigned {
    /// Compares a description of the group with the numbers of partitions of its topics, and returns what is due.
    pub(crate) fn look(&mut self, group: &Group, topics: &BTreeMap<String, i32>, drain: Duration, now: Instant) -> Vec<Rejoin> {
        let found = if group.stable { unassigned(group, topics) } else { Vec::new() };
        self.0.retain(|topic, _| found.iter().any(|rejoin| rejoin.topic == *topic));
        let due = |rejoin: &Rejoin| {
            let since = self.0.entry(rejoin.topic.clone()).or_insert(now);
            let due = now.duration_since(*since) >= drain.saturating_add(AFTER_DRAIN);
            if due {
                *since = now;
            }
            due
        };
        found.into_iter().filter(due).collect()
    }
}

fn unassigned(group: &Group, topics: &BTreeMap<String, i32>) -> Vec<Rejoin> {
    let owned: BTreeSet<_> = group.members.iter().flat_map(|member| &member.partitions).collect();
    let of = |(topic, count): (&String, &i32)| {
        let subscribers = group.members.iter().filter(|member| member.topics.contains(topic));
        let member = subscribers.map(|member| &member.id).min()?.clone();
        let partitions: Vec<_> = (0..*count).filter(|number| !owned.contains(&TopicPartition::new(topic, *number))).collect();
        (!partitions.is_empty()).then(|| Rejoin { topic: topic.clone(), member, partitions })
    };
    topics.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{group::GroupMember, time::now};

    const DRAIN: Duration = Duration::from_secs(5);

    fn member(id: &str, topic: &str, partitions: &[i32]) -> GroupMember {
        GroupMember {
            id: id.to_owned(),
            topics: vec![topic.to_owned()],
            partitions: partitions.iter().map(|number| TopicPartition::new(topic, *number)).collect(),
            ..GroupMember::default()
        }
    }

    fn group(members: &[GroupMember]) -> Group {
        Group { stable: true, members: members.to_vec() }
    }

    fn topics() -> BTreeMap<String, i32> {
        [("orders".to_owned(), 2), ("payments".to_owned(), 2), ("read by no member".to_owned(), 2)].into()
    }

    fn rejoin(member: &str, partitions: &[i32]) -> Vec<Rejoin> {
        vec![Rejoin { topic: "payments".to_owned(), member: member.to_owned(), partitions: partitions.to_vec() }]
    }

    #[test]
    fn the_first_member_of_the_topic_is_due_when_its_partitions_have_had_none_for_a_while() {
        let broken = group(&[member("b", "payments", &[]), member("a", "orders", &[0, 1]), member("c", "payments", &[1])]);
        let (mut unassigned, start) = (Unassigned::default(), now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut look = |group: &Group, seconds| unassigned.look(group, &topics(), DRAIN, at(seconds));
        assert_eq!(look(&broken, 0), []);
        assert_eq!(look(&broken, 9), [], "a member can still be giving it up");
        assert_eq!(look(&broken, 10), rejoin("b", &[0]));
        assert_eq!(look(&broken, 15), [], "it is about to join");
        assert_eq!(look(&broken, 20), rejoin("b", &[0]), "it did not help");
    }

    #[test]
    fn a_rebalance_and_an_assignment_start_anew() {
        let broken = group(&[member("a", "orders", &[0, 1]), member("b", "payments", &[])]);
        let whole = group(&[member("a", "orders", &[0, 1]), member("b", "payments", &[0, 1])]);
        for between in [Group { stable: false, ..broken.clone() }, whole, Group::default()] {
            let (mut unassigned, start) = (Unassigned::default(), now());
            let at = |seconds| start + Duration::from_secs(seconds);
            let mut look = |group: &Group, seconds| unassigned.look(group, &topics(), DRAIN, at(seconds));
            assert_eq!(look(&broken, 0), []);
            assert_eq!(look(&between, 8), []);
            assert_eq!(look(&broken, 11), [], "{between:?}");
            assert_eq!(look(&broken, 21), rejoin("b", &[0, 1]));
        }
    }
}
