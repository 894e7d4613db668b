//! Starts of partitions, and their offsets.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{Offset, consumer::Consumer as _};
use saga_core::message::TopicPartition;

use super::{Session, list, now};
use crate::member::{
    commands::{self, Answer, Asked, Why},
    held::{Held, Stage},
    questions,
};

/// The wait before a failed start is retried.
const RETRY_DELAY: Duration = Duration::from_millis(300);

/// After how long an unanswered request is repeated: longer than several queued requests can take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A partition that the client must fetch from `from`.
pub(super) struct Start {
    pub(super) asked: Asked,
    /// `None` is the oldest record.
    from: Option<i64>,
}

impl Session<'_> {
    pub(super) fn ordered(&mut self, starts: BTreeMap<TopicPartition, commands::Start>) {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (partition, start) in starts {
            let Some(held) = self.held.of(&partition) else { continue };
            if held.generation != start.generation || held.stage == Stage::Leaving {
                continue;
            }
            held.run = start.run;
            match start.from {
                Some(from) => known.push(Start { asked: held.asked(), from: Some(from.max(0)) }),
                None => {
                    held.stage = Stage::Locating(now() + ANSWER_TIMEOUT);
                    unknown.push(held.asked());
                }
            }
        }
        self.start(known);
        self.locate(unknown);
    }

    /// Asks the log for the committed offsets of these partitions.
    fn locate(&self, asked: Vec<Asked>) {
        if !asked.is_empty() {
            questions::committed(&self.plan.observer, &self.plan.feed, &self.plan.member.group, asked);
        }
    }

    /// Continues with the answer to a request. An answer for an earlier assignment or run of a partition is ignored.
    pub(super) fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::CommittedOffsets(found) => {
                let mut starts = Vec::new();
                for (asked, from) in found {
                    if self
                        .held
                        .of(&asked.partition)
                        .is_some_and(|held| held.is(&asked) && matches!(held.stage, Stage::Locating(_)))
                    {
                        starts.push(Start { asked, from });
                    }
                }
                self.start(starts);
            }
            Answer::OffsetsUnavailable(asked, error) => {
                self.plan.feed.problem(error);
                let again = now() + RETRY_DELAY;
                for asked in asked {
                    let waits = |held: &&mut Held| held.is(&asked) && matches!(held.stage, Stage::Locating(_));
                    if let Some(held) = self.held.of(&asked.partition).filter(waits) {
                        held.stage = Stage::Locating(again);
                    }
                }
            }
            Answer::Bounds(bounds, Why::Stuck) => self.unstick(bounds),
            Answer::Bounds(bounds, Why::Quiet) => self.nudge(bounds),
            Answer::NoBounds(why) => self.watch.unanswered(why, now()),
            #[cfg(test)]
            Answer::Poison => panic!("poison"),
            #[cfg(test)]
            Answer::Erred(error, reason) => {
                rdkafka::ClientContext::error(&**self.client.context(), error.clone(), &reason);
                assert!(self.on_error(&error).is_none(), "{error}");
            }
        }
    }

    /// Makes the client fetch partitions from these offsets, instead of their current positions.
    pub(super) fn start(&mut self, mut starts: Vec<Start>) {
        let held = &mut self.held;
        starts.retain(|start| {
            held.of(&start.asked.partition).is_some_and(|held| held.is(&start.asked) && held.stage != Stage::Leaving)
        });
        if starts.is_empty() {
            return;
        }
        if self.leaving.is_some() {
            // A partition that is fetched already is unassigned and assigned again. During a revocation, the client takes any `unassign` for
            // its acknowledgement.
            self.later.extend(starts);
            return;
        }
        let fetched = |start: &&Start| self.held.iter().any(|held| held.assigned && held.partition == start.asked.partition);
        let moved: Vec<_> = starts.iter().filter(fetched).map(|start| start.asked.partition.clone()).collect();
        if !moved.is_empty() {
            self.unassign(&moved);
        }
        let before = self.positions(starts.iter().map(|start| &start.asked.partition));
        let offset = |start: &Start| start.from.map_or(Offset::Beginning, Offset::Offset);
        let assignment = list(starts.iter().map(|start| (&start.asked.partition, offset(start))));
        let now = now();
        if let Err(error) = self.client.incremental_assign(&assignment) {
            tracing::warn!(group = self.plan.member.group, %error, "partitions could not be started; trying again");
            self.later.extend(starts);
            self.later_at = Some(now + RETRY_DELAY);
            return;
        }
        for start in starts {
            if let Some(held) = self.held.of(&start.asked.partition) {
                tracing::debug!(group = self.plan.member.group, partition = %held.partition, from = ?start.from, "reading");
                held.stage = Stage::Reading;
                held.next = start.from;
                held.before = before.get(&held.partition).copied();
                held.assigned = true;
                held.moved = now;
            }
        }
    }

    /// Restarts partitions at their current positions.
    pub(super) fn start_again(&mut self, partitions: &[TopicPartition]) {
        let again = self.held.iter().filter(|held| held.stage == Stage::Reading && partitions.contains(&held.partition));
        let starts = again.map(|held| Start { asked: held.asked(), from: held.next }).collect();
        self.start(starts);
    }

    pub(super) fn tend_starts(&mut self, now: Instant) {
        if self.leaving.is_none() && !self.later.is_empty() && self.later_at.is_none_or(|at| at <= now) {
            self.later_at = None;
            let later = std::mem::take(&mut self.later);
            self.start(later);
        }
        let mut again = Vec::new();
        for held in self.held.iter_mut() {
            if matches!(held.stage, Stage::Locating(at) if at <= now) {
                held.stage = Stage::Locating(now + ANSWER_TIMEOUT);
                again.push(held.asked());
            }
        }
        self.locate(again);
    }
}
