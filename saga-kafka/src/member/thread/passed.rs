//! Offsets without a record for this reader: transaction markers, and records of aborted transactions.
//!
//! The client passes these offsets silently, but its position can be read without a request. The position moves as the client's
//! queue is served, in the order of the offsets. It is read here when the queue is empty, so all records before it have been
//! taken.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::Offset;
use saga_core::message::TopicPartition;

use super::{Session, list, native};
use crate::member::{context::named, held::Stage};

/// How often passed offsets are checked.
const LOOK: Duration = Duration::from_millis(50);

impl Session<'_> {
    /// Reports the offsets that were passed since the last check. Must be called when the client's queue is empty.
    pub(super) fn tend_passed(&mut self, now: Instant) {
        if self.passed_at > now {
            return;
        }
        self.passed_at = now + LOOK;
        let reading = self.held.iter().filter(|held| held.stage == Stage::Reading && held.assigned);
        let stands = self.positions(reading.map(|held| &held.partition));
        let feed = &self.plan.feed;
        for held in self.held.iter_mut().filter(|held| held.stage == Stage::Reading && held.assigned) {
            if let Some(next) = held.passes(stands.get(&held.partition).copied()) {
                (held.moved, held.nudged_at) = (now, None);
                feed.passed(&held.partition, held.run, next);
            }
        }
    }

    /// Returns the client's position in each of these partitions, where it is known.
    pub(super) fn positions<'p>(&self, partitions: impl Iterator<Item = &'p TopicPartition>) -> BTreeMap<TopicPartition, i64> {
        let asked = list(partitions.map(|partition| (partition, Offset::Invalid)));
        if asked.count() > 0 {
            native::positions(&self.client, &asked);
        }
        named(&asked)
            .filter(|(_, offset, code)| *offset >= 0 && code.is_none())
            .map(|(partition, offset, _)| (partition, offset))
            .collect()
    }
}
