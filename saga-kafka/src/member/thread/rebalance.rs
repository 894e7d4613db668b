//! Assigned and revoked partitions.
//!
//! In librdkafka, the partitions that the *group* assigns to this member and those that the *client* fetches are separate. An
//! assignment is acknowledged at once, with an empty list, so that the group does not wait for the service's database; the client
//! gets the partition when the runtime starts it. A revocation is acknowledged when the runtime has released the partition: until
//! then no other member reads it, and what the service has done can be committed.

use std::{collections::BTreeSet, time::Instant};

use rdkafka::{TopicPartitionList, consumer::Consumer as _};
use saga_core::message::TopicPartition;

use super::{Session, now};
use crate::member::{
    commands::Released,
    held::{Held, Stage},
};

/// Revoked partitions, until they are given up in the client.
pub(super) struct Leaving {
    partitions: Vec<TopicPartition>,
    /// Those that the runtime has not released yet.
    awaited: BTreeSet<TopicPartition>,
    deadline: Instant,
}

impl Session<'_> {
    pub(super) fn assigned(&mut self, partitions: Vec<TopicPartition>) {
        if let Err(error) = self.client.incremental_assign(&TopicPartitionList::new()) {
            tracing::warn!(group = self.plan.member.group, %error, "acknowledging an assignment");
        }
        // A partition is normally revoked before it is assigned again. If it was not, its previous assignment is lost.
        let stale: Vec<_> = self.held.remove(&partitions).into_iter().map(|held| held.partition).collect();
        self.forget(&stale, true);
        if partitions.is_empty() {
            return;
        }
        tracing::debug!(group = self.plan.member.group, ?partitions, "assigned");
        let (now, generations) = (now(), self.plan.feed.assigned(&partitions));
        for (partition, generation) in partitions.into_iter().zip(generations) {
            self.held.insert(Held::new(partition, generation, now));
        }
    }

    pub(super) fn revoked(&mut self, mut partitions: Vec<TopicPartition>, lost: bool) {
        if self.leaving.is_some() {
            self.finish_leaving();
        }
        partitions.retain(|partition| self.held.of(partition).is_some());
        tracing::debug!(group = self.plan.member.group, ?partitions, lost, "revoked");
        if lost || partitions.is_empty() {
            self.unassign(&partitions);
            self.held.remove(&partitions);
            self.forget(&partitions, true);
            return;
        }
        for partition in &partitions {
            if let Some(held) = self.held.of(partition) {
                held.stage = Stage::Leaving;
            }
        }
        self.later.retain(|start| !partitions.contains(&start.asked.partition));
        self.plan.feed.revoked(partitions.clone());
        self.leaving = Some(Leaving {
            awaited: partitions.iter().cloned().collect(),
            partitions,
            deadline: now() + self.plan.config.group.drain_timeout,
        });
    }

    pub(super) fn released(&mut self, released: &Released) {
        let current = self.held.of(&released.partition).is_some_and(|held| held.generation == released.generation);
        if let Some(leaving) = self.leaving.as_mut().filter(|_| current) {
            leaving.awaited.remove(&released.partition);
        }
    }

    /// Gives up the partitions when all are released and committed, or at the deadline.
    pub(super) fn tend_leaving(&mut self, now: Instant) {
        let Some(leaving) = &self.leaving else { return };
        let done = leaving.awaited.is_empty() && !self.commits.concern(&leaving.partitions);
        if done {
            self.finish_leaving();
        } else if now >= leaving.deadline {
            let partitions = &leaving.awaited;
            tracing::warn!(
                group = self.plan.member.group,
                ?partitions,
                "partitions are given up before their work is finished; the commits of that work are refused"
            );
            self.finish_leaving();
        } else if self.client.assignment_lost() {
            tracing::warn!(group = self.plan.member.group, partitions = ?leaving.partitions, "partitions were lost while they were given up");
            self.finish_leaving();
        }
    }

    fn finish_leaving(&mut self) {
        let Some(leaving) = self.leaving.take() else { return };
        self.unassign(&leaving.partitions);
        self.held.remove(&leaving.partitions);
        self.forget(&leaving.partitions, false);
    }

    /// Stops the client from fetching these partitions. This also acknowledges a revocation, even if the client fetches none of
    /// them.
    pub(super) fn unassign(&mut self, partitions: &[TopicPartition]) {
        let fetched = |held: &&mut Held| held.assigned && partitions.contains(&held.partition);
        let (mut paused, mut assigned) = (Vec::new(), Vec::new());
        for held in self.held.iter_mut().filter(fetched) {
            held.assigned = false;
            if std::mem::take(&mut held.paused) {
                paused.push(held.partition.clone());
            }
            assigned.push(held.partition.clone());
        }
        // A pause would survive in the client, where the next assignment of the partition would not expect it.
        self.say("resuming partitions", &paused, super::Client::resume);
        let list = super::list(assigned.iter().map(|partition| (partition, rdkafka::Offset::Invalid)));
        if let Err(error) = self.client.incremental_unassign(&list) {
            tracing::warn!(group = self.plan.member.group, ?partitions, %error, "giving up partitions");
        }
    }

    /// Removes all that is kept for these partitions, which are no longer assigned.
    fn forget(&mut self, partitions: &[TopicPartition], lost: bool) {
        if partitions.is_empty() {
            return;
        }
        self.commits.gone(partitions);
        self.later.retain(|start| !partitions.contains(&start.asked.partition));
        match lost {
            true => self.plan.feed.lost(partitions.to_vec()),
            false => self.plan.feed.gone(partitions),
        }
    }
}
