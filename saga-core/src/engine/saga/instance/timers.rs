//! The timers of an instance.

use std::time::Duration;

use super::{GivenUp, Instance};
use crate::{
    saga::{Cause, Definition},
    time::Timestamp,
};

/// The name of the instance's own timer. The other timers have the names of their steps.
const SAGA: &str = "";

/// What follows from a timer that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firing {
    /// Nothing: no timer is due.
    Nothing,
    /// The instance is aborted.
    Abort(Cause),
    /// The instance needs attention, for this reason.
    Attention(String),
}

impl Instance {
    /// Returns when the next timer is due.
    pub fn due(&self) -> Option<Timestamp> {
        self.body.timers.values().min().copied()
    }

    /// Returns the deadline of the instance or, once it is decided, of its remaining steps.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.body.timers.get(SAGA).copied()
    }

    pub(super) fn set_timers(&mut self, saga: &Definition, now: Timestamp, deadline: Duration) {
        if self.ended_at.is_some() {
            self.body.timers.clear();
            return;
        }
        let decided = self.is_decided(saga);
        if decided != self.body.decided || !self.body.timers.contains_key(SAGA) {
            // The instance starts, is decided, or continues after its timer was due: the remaining steps get the full time again.
            self.body.timers.insert(SAGA.to_owned(), now.after(deadline));
            self.body.decided = decided;
        }
        for step in &saga.steps {
            let settled = self.is_done(step) || self.is_rejected(step) || self.is_skipped(step) || self.has(&saga.aborts.name);
            match step.deadline {
                Some(limit) if !settled && self.has(&step.on.name) => {
                    self.body.timers.entry(step.name.clone()).or_insert_with(|| now.after(limit));
                }
                _ => {
                    self.body.timers.remove(&step.name);
                }
            }
        }
    }

    /// Returns what follows from the timers that are due at `now`. After [`fired`](Self::fired), it returns `Firing::Nothing`.
    pub fn firing(&self, saga: &Definition, now: Timestamp) -> Firing {
        let ended = self.body.timers.iter().filter(|(_, at)| **at <= now).min_by_key(|(_, at)| **at);
        let Some((name, _)) = ended else { return Firing::Nothing };
        if let Some(reason) = self.body.given_up.as_ref().filter(|_| !self.is_decided(saga)) {
            return Firing::Abort(Cause::Operator(reason.clone()));
        }
        let cause = if saga.step(name).is_some() { Cause::Step(name.clone()) } else { Cause::Saga };
        match self.is_decided(saga) {
            false if saga.abort.deadline => Firing::Abort(cause),
            false => Firing::Attention(format!("{cause}, and the saga is not aborted for that")),
            true => Firing::Attention(match &cause {
                Cause::Step(_) => cause.to_string(),
                _ => {
                    let missing: Vec<_> = self.expected(saga).iter().flat_map(|next| next.events.clone()).collect();
                    format!("it was decided, and these events did not come in time: {}", missing.join(", "))
                }
            }),
        }
    }

    /// Corrects an instance that was last written by a clock ahead of `now`: moves its timers back by the difference, so that they are due
    /// at the intended time.
    ///
    /// Returns whether it did.
    pub fn bring_back(&mut self, now: Timestamp) -> bool {
        let ahead = self.updated_at.since(now);
        if ahead == Duration::ZERO {
            return false;
        }
        for at in self.body.timers.values_mut() {
            *at = at.before(ahead);
        }
        self.updated_at = now;
        true
    }

    /// Removes the timers that are due at `now`, after their consequence was carried out.
    pub fn fired(&mut self, now: Timestamp) {
        self.body.timers.retain(|_, at| *at > now);
        self.body.given_up = None;
        self.body.attempts = 0;
    }

    /// Records that the handler of the deadline failed: the timers that are due at `now` are due again after `wait`.
    pub fn fire_again(&mut self, now: Timestamp, wait: Duration) {
        self.body.attempts = self.body.attempts.saturating_add(1);
        for at in self.body.timers.values_mut().filter(|at| **at <= now) {
            *at = now.after(wait);
        }
    }

    /// Gives the instance up, for `reason`: its timer is due at once.
    pub fn give_up(&mut self, reason: impl Into<String>, now: Timestamp) {
        self.body.given_up = Some(reason.into());
        self.body.timers.insert(SAGA.to_owned(), now);
        self.body.attempts = 0;
    }

    /// Restarts the timers at `now`, and returns what was given up and can be retried.
    ///
    /// Events that wait in an outbox are not returned: the relay sends them again anyway.
    pub fn rearm(&mut self, saga: &Definition, now: Timestamp, deadline: Duration) -> Vec<GivenUp> {
        let (waits, stopped) =
            std::mem::take(&mut self.body.stopped).into_iter().partition::<Vec<_>, _>(|stopped| stopped.dead_letter.is_empty());
        self.attention = waits.last().map(|waits| waits.reason.clone());
        self.body.stopped = waits;
        self.body.attempts = 0;
        self.body.timers.clear();
        self.set_timers(saga, now, deadline);
        if saga.abort.deadline && !self.is_decided(saga) && self.started_at.after(deadline) <= now && self.ended_at.is_none() {
            // The deadline has passed, so the abort that failed then is tried now.
            self.body.timers.insert(SAGA.to_owned(), now);
        }
        stopped
    }
}
