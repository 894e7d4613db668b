//! A consumer group: its members, and the member that reads each partition.
//!
//! Rebalancing is cooperative. Only partitions that move are revoked. A partition that moves is assigned to its new reader when the
//! previous one has released it, left the group, or let the deadline pass. The module does no I/O; the current time is passed in.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Notify;

use super::{Partition, Topic, assignment::assign};
use crate::{time::Timestamp, transport::TopicPartition};

/// The members of a group, and its partitions with their readers.
pub(super) struct Group {
    release_timeout: Duration,
    members: BTreeMap<u64, Member>,
    readers: BTreeMap<TopicPartition, Reader>,
}

struct Member {
    topics: Vec<Arc<Topic>>,
    events: VecDeque<Event>,
    wake: Arc<Notify>,
}

struct Reader {
    partition: Arc<Partition>,
    member: u64,
    /// The time by which the partition must be released, if it moves to another member.
    release_by: Option<Timestamp>,
}

/// A change of a member's assignment.
pub(super) enum Event {
    Assigned(Vec<Arc<Partition>>),
    Revoked(Vec<Arc<Partition>>),
    Lost(Vec<Arc<Partition>>),
}

impl Group {
    pub(super) fn new(release_timeout: Duration) -> Self {
        Self { release_timeout, members: BTreeMap::new(), readers: BTreeMap::new() }
    }

    pub(super) fn join(&mut self, member: u64, topics: Vec<Arc<Topic>>, wake: Arc<Notify>, now: Timestamp) {
        self.members.insert(member, Member { topics, events: VecDeque::new(), wake });
        self.rebalance(now);
    }

    pub(super) fn leave(&mut self, member: u64, now: Timestamp) {
        if self.members.remove(&member).is_some() {
            self.readers.retain(|_, reader| reader.member != member);
            self.rebalance(now);
        }
    }

    /// Replaces the topic that has the name of `topic` in the members that read it, because its partitions have changed.
    pub(super) fn replace(&mut self, topic: &Arc<Topic>, now: Timestamp) {
        for known in self.members.values_mut().flat_map(|member| &mut member.topics) {
            if known.name == topic.name {
                *known = Arc::clone(topic);
            }
        }
        self.rebalance(now);
    }

    /// Takes back partitions that `member` was asked to release. Other partitions stay with it.
    pub(super) fn release(&mut self, member: u64, partitions: &[TopicPartition], now: Timestamp) {
        for id in partitions {
            if self.readers.get(id).is_some_and(|reader| reader.member == member && reader.release_by.is_some()) {
                self.readers.remove(id);
            }
        }
        self.rebalance(now);
    }

    /// Takes back the partitions that were not released in time.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let mut lost: BTreeMap<u64, Vec<Arc<Partition>>> = BTreeMap::new();
        self.readers.retain(|_, reader| {
            let late = reader.release_by.is_some_and(|by| by <= now);
            if late {
                lost.entry(reader.member).or_default().push(Arc::clone(&reader.partition));
            }
            !late
        });
        if lost.is_empty() {
            return;
        }
        for (member, partitions) in lost {
            self.send_event(member, Event::Lost(partitions));
        }
        self.rebalance(now);
    }

    /// Returns the earliest time by which a partition must be released.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.readers.values().filter_map(|reader| reader.release_by).min()
    }

    /// Returns the partition, if `member` may commit its offsets.
    pub(super) fn partition_of(&self, member: u64, id: &TopicPartition) -> Option<&Arc<Partition>> {
        self.readers.get(id).filter(|reader| reader.member == member).map(|reader| &reader.partition)
    }

    /// Takes the oldest event that was not delivered to `member` yet.
    pub(super) fn next_event(&mut self, member: u64) -> Option<Event> {
        self.members.get_mut(&member)?.events.pop_front()
    }

    pub(super) fn has_events(&self, member: u64) -> bool {
        self.members.get(&member).is_some_and(|member| !member.events.is_empty())
    }

    pub(super) fn wake_all(&self) {
        for member in self.members.values() {
            member.wake.notify_one();
        }
    }

    fn send_event(&mut self, member: u64, event: Event) {
        if let Some(member) = self.members.get_mut(&member) {
            member.events.push_back(event);
        }
    }

    fn rebalance(&mut self, now: Timestamp) {
        let mut all: BTreeMap<TopicPartition, (Arc<Partition>, Vec<u64>)> = BTreeMap::new();
        for (id, member) in &self.members {
            for partition in member.topics.iter().flat_map(|topic| &topic.partitions) {
                all.entry(partition.id.clone()).or_insert_with(|| (Arc::clone(partition), Vec::new())).1.push(*id);
            }
        }
        let wishes: Vec<_> = all
            .iter()
            .map(|(id, (_, candidates))| {
                let keeps = self.readers.get(id).filter(|reader| reader.release_by.is_none()).map(|reader| reader.member);
                (keeps, candidates.clone())
            })
            .collect();
        let mut assigned: BTreeMap<u64, Vec<Arc<Partition>>> = BTreeMap::new();
        let mut revoked: BTreeMap<u64, Vec<Arc<Partition>>> = BTreeMap::new();
        let release_by = now.after(self.release_timeout);
        for (target, (id, (partition, _))) in assign(&wishes).into_iter().zip(all) {
            let Some(target) = target else { continue };
            match self.readers.get_mut(&id) {
                None => {
                    assigned.entry(target).or_default().push(Arc::clone(&partition));
                    self.readers.insert(id, Reader { partition, member: target, release_by: None });
                }
                Some(reader) if reader.release_by.is_none() && reader.member != target => {
                    reader.release_by = Some(release_by);
                    revoked.entry(reader.member).or_default().push(partition);
                }
                Some(_) => {}
            }
        }
        for (member, partitions) in revoked {
            self.send_event(member, Event::Revoked(partitions));
        }
        for (member, partitions) in assigned {
            self.send_event(member, Event::Assigned(partitions));
        }
        // Wakes all members, because any waiting member also enforces the release deadlines of the others.
        self.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    fn topic() -> Arc<Topic> {
        let partitions = (0..4).map(|n| Partition::new(TopicPartition::new("t", n), n.into(), 0, 0, 0)).collect();
        Arc::new(Topic::new("t", "1".into(), partitions))
    }

    fn group(members: &[u64]) -> Group {
        let mut group = Group::new(Duration::from_secs(30));
        let topic = topic();
        for member in members {
            group.join(*member, vec![Arc::clone(&topic)], Arc::default(), NOW);
        }
        group
    }

    fn told(group: &mut Group, member: u64) -> Vec<(&'static str, Vec<i32>)> {
        let numbers = |partitions: Vec<Arc<Partition>>| partitions.iter().map(|partition| partition.id.partition).collect();
        std::iter::from_fn(|| group.next_event(member))
            .map(|event| match event {
                Event::Assigned(partitions) => ("assigned", numbers(partitions)),
                Event::Revoked(partitions) => ("revoked", numbers(partitions)),
                Event::Lost(partitions) => ("lost", numbers(partitions)),
            })
            .collect()
    }

    fn ids(numbers: &[i32]) -> Vec<TopicPartition> {
        numbers.iter().map(|number| TopicPartition::new("t", *number)).collect()
    }

    #[test]
    fn a_partition_that_moves_waits_for_its_release() {
        let mut group = group(&[1, 2]);
        assert_eq!(told(&mut group, 1), [("assigned", vec![0, 1, 2, 3]), ("revoked", vec![2, 3])]);
        assert_eq!(told(&mut group, 2), []);
        group.release(1, &ids(&[3]), NOW);
        assert_eq!(told(&mut group, 2), [("assigned", vec![3])]);
        assert!(group.partition_of(1, &ids(&[2])[0]).is_some(), "what was not released can still be committed");
        assert!(group.partition_of(1, &ids(&[3])[0]).is_none());
    }

    #[test]
    fn what_was_not_revoked_cannot_be_released() {
        let mut group = group(&[1, 2]);
        group.release(1, &ids(&[0]), NOW);
        assert!(group.partition_of(1, &ids(&[0])[0]).is_some());
    }

    #[test]
    fn what_is_not_released_in_time_is_lost() {
        let mut group = group(&[1, 2]);
        let deadline = group.deadline().expect("a revocation has a deadline");
        group.expire(deadline.before(Duration::from_millis(1)));
        assert_eq!(told(&mut group, 2), []);
        group.expire(deadline);
        assert_eq!(told(&mut group, 1).pop(), Some(("lost", vec![2, 3])));
        assert_eq!(told(&mut group, 2), [("assigned", vec![2, 3])]);
        assert_eq!(group.deadline(), None);
    }

    #[test]
    fn a_member_that_leaves_makes_room_at_once() {
        let mut group = group(&[1, 2]);
        group.leave(1, NOW);
        assert_eq!(told(&mut group, 2), [("assigned", vec![0, 1, 2, 3])]);
    }

    #[test]
    fn a_release_after_the_other_left_comes_back() {
        let mut group = group(&[1, 2]);
        told(&mut group, 1);
        group.leave(2, NOW);
        group.release(1, &ids(&[2, 3]), NOW);
        assert_eq!(told(&mut group, 1), [("assigned", vec![2, 3])]);
    }
}
