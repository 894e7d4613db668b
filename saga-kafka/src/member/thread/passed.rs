//! Offsets that have no record for us: ends of transactions, and records that were aborted.
//!
//! The client passes them without a word. Where it stands it can be asked, which costs no request. It moves as the client's queue is
//! served, in the order of the offsets, and that is done here: when the queue was emptied, all records before that place are taken.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::Offset;
use saga_core::message::TopicPartition;

use super::{Session, list, native};
use crate::member::{context::named, held::Stage};

/// How often it is looked at what was passed.
const LOOK: Duration = Duration::from_millis(50);

impl Session<'_> {
    /// Tells what was passed since the last look. To be called when the queue of the client is empty.
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

    /// Where the client stands in each of these, where it knows.
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
