//! Partitions that stand still: because records are missing, or because the client has forgotten them.

use std::time::{Duration, Instant};

use saga_core::message::TopicPartition;

use super::{Session, now};
use crate::member::{
    held::{Held, Stage},
    orders::{Asked, Why},
    questions,
};

/// After how long of silence a partition is looked at.
const QUIET: Duration = Duration::from_secs(30);

/// How often partitions are looked through for those that are quiet.
const LOOK: Duration = Duration::from_secs(5);

/// How long until a question that was not answered is put again.
const AGAIN: Duration = Duration::from_millis(500);

/// What is watched.
pub(super) struct Watch {
    /// Partitions that cannot be fetched from where they are, by the number of times the client said so.
    stuck: usize,
    asking: bool,
    ask_at: Option<Instant>,
    look_at: Instant,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self { stuck: 0, asking: false, ask_at: None, look_at: now + LOOK }
    }

    /// The client says of a partition, but not of which, that it cannot be fetched from where it is.
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

    /// Tells the gaps that keep partitions from being fetched, and starts the others again.
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
                // What the client makes of it does not matter: it is started anew from elsewhere, or given up.
                held.stage = Stage::Idle;
            }
            tracing::debug!(group = self.plan.group, partition = %asked.partition, wanted, oldest, end, "a gap");
            self.plan.feed.gap(asked.partition, asked.run, wanted, oldest, end);
        }
        if !explained {
            self.start_again(&others);
        }
    }

    /// Starts those again that have records and give none.
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
                group = self.plan.group,
                %partition,
                "a partition has records and none came for {} s; its fetching is started again",
                QUIET.as_secs()
            );
        }
        self.start_again(&nudged);
    }
}
