//! Partitions that make no progress: because records are missing, or because the client does not fetch them any more.

use std::time::{Duration, Instant};

use saga_core::message::TopicPartition;

use super::{Session, now};
use crate::member::{
    commands::{Asked, Why},
    held::{Held, Stage},
    questions,
};

/// How long a partition can be silent before it is checked.
const QUIET: Duration = Duration::from_secs(30);

/// How often silent partitions are searched for.
const LOOK: Duration = Duration::from_secs(5);

/// The wait before an unanswered request is repeated.
const AGAIN: Duration = Duration::from_millis(500);

/// The state of the checks.
pub(super) struct Watch {
    /// How often the client has reported that a partition cannot be fetched from its position.
    stuck: usize,
    asking: bool,
    ask_at: Option<Instant>,
    look_at: Instant,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self { stuck: 0, asking: false, ask_at: None, look_at: now + LOOK }
    }

    /// The client has reported that a partition, without its name, cannot be fetched from its position.
    pub(super) fn stuck(&mut self, now: Instant) {
        self.stuck += 1;
        self.ask_at = Some(now);
    }

    pub(super) fn unanswered(&mut self, why: Why, now: Instant) {
        if why == Why::Stuck {
            self.asking = false;
            self.ask_at = Some(now + AGAIN);
        }
    }
}

impl Session<'_> {
    pub(super) fn tend_watch(&mut self, now: Instant) {
        if !self.watch.asking && self.watch.ask_at.is_some_and(|at| at <= now) {
            self.watch.ask_at = None;
            self.watch.asking = true;
            let read = |held: &&Held| held.stage == Stage::Reading && held.assigned;
            let asked = self.held.iter().filter(read).map(Held::asked).collect();
            self.ask_bounds(asked, Why::Stuck);
        }
        if self.watch.look_at <= now {
            self.watch.look_at = now + LOOK;
            let mut asked = Vec::new();
            for held in self.held.iter_mut() {
                let fetched = held.stage == Stage::Reading && held.assigned && !held.paused;
                if fetched && now.duration_since(held.moved) > QUIET {
                    held.moved = now;
                    asked.push(held.asked());
                }
            }
            self.ask_bounds(asked, Why::Quiet);
        }
    }

    fn ask_bounds(&mut self, asked: Vec<Asked>, why: Why) {
        if asked.is_empty() {
            if why == Why::Stuck {
                self.watch.asking = false;
            }
            return;
        }
        questions::bounds(&self.plan.observer, &self.plan.feed, asked, why);
    }

    /// Reports the gaps that prevent fetching. If they do not explain all errors, the other partitions are restarted.
    pub(super) fn unstick(&mut self, bounds: Vec<(Asked, i64, i64)>) {
        self.watch.asking = false;
        let (mut gaps, mut others) = (Vec::new(), Vec::new());
        for (asked, oldest, end) in bounds {
            let Some(held) = self.held.of(&asked.partition).filter(|held| held.is(&asked) && held.stage == Stage::Reading) else {
                continue;
            };
            match held.next {
                Some(wanted) if held.has_gap(oldest, end) => gaps.push((asked, wanted, oldest, end)),
                _ => others.push(asked.partition),
            }
        }
        let explained = gaps.len() >= std::mem::take(&mut self.watch.stuck);
        for (asked, wanted, oldest, end) in gaps {
            if let Some(held) = self.held.of(&asked.partition) {
                // The client's state of the partition does not matter: the runtime starts it at another offset, or gives it up.
                held.stage = Stage::Idle;
            }
            tracing::debug!(group = self.plan.member.group, partition = %asked.partition, wanted, oldest, end, "a gap");
            self.plan.feed.gap(asked.partition, asked.run, wanted, oldest, end);
        }
        if !explained {
            self.start_again(&others);
        }
    }

    /// Restarts partitions that have records and did not deliver any.
    pub(super) fn nudge(&mut self, bounds: Vec<(Asked, i64, i64)>) {
        let now = now();
        let mut nudged: Vec<TopicPartition> = Vec::new();
        for (asked, oldest, end) in bounds {
            let Some(held) = self.held.of(&asked.partition).filter(|held| held.is(&asked)) else { continue };
            if held.stands_still(oldest, end) {
                held.nudged_at = Some(end);
                held.moved = now;
                nudged.push(asked.partition);
            }
        }
        if nudged.is_empty() {
            return;
        }
        for partition in &nudged {
            tracing::warn!(
                group = self.plan.member.group,
                %partition,
                "a partition has records and none came for {} s; its fetching is started again",
                QUIET.as_secs()
            );
        }
        self.start_again(&nudged);
    }
}
