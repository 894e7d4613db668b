//! Timers: when an instance has taken too long, and what follows.

use std::time::Duration;

use super::{GivenUp, Instance};
use crate::{
    saga::{Cause, Definition},
    time::Timestamp,
};

/// The timer of the whole flow; the others are called like their steps.
const FLOW: &str = "";

/// What a timer that has ended leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firing {
    /// Nothing: none has ended.
    Nothing,
    /// The flow is given up.
    Abort(Cause),
    /// Somebody has to look at it, for this reason.
    Attention(String),
}

impl Instance {
    /// When its next timer ends.
    pub fn due(&self) -> Option<Timestamp> {
        self.known.timers.values().min().copied()
    }

    /// When the whole flow, or what is left of it, should have ended.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.known.timers.get(FLOW).copied()
    }

    pub(super) fn set_timers(&mut self, saga: &Definition, now: Timestamp, deadline: Duration) {
        if self.ended_at.is_some() {
            self.known.timers.clear();
            return;
        }
        let decided = self.is_decided(saga);
        if decided != self.known.decided || !self.known.timers.contains_key(FLOW) {
            // It begins, it is decided, or it goes on after its timer has ended: what is left may take as long again.
            self.known.timers.insert(FLOW.to_owned(), now.after(deadline));
            self.known.decided = decided;
        }
        for step in &saga.steps {
            let settled = self.is_done(step) || self.is_rejected(step) || self.is_skipped(step) || self.has(&saga.aborts.name);
            match step.deadline {
                Some(limit) if !settled && self.has(&step.on.name) => {
                    self.known.timers.entry(step.name.clone()).or_insert_with(|| now.after(limit));
                }
                _ => {
                    self.known.timers.remove(&step.name);
                }
            }
        }
    }

    /// What is to happen because of timers that have ended by `now`. Asked again after it was carried out, it says nothing.
    pub fn firing(&self, saga: &Definition, now: Timestamp) -> Firing {
        let ended = self.known.timers.iter().filter(|(_, at)| **at <= now).min_by_key(|(_, at)| **at);
        let Some((name, _)) = ended else { return Firing::Nothing };
        if let Some(reason) = self.known.given_up.as_ref().filter(|_| !self.is_decided(saga)) {
            return Firing::Abort(Cause::Operator(reason.clone()));
        }
        let cause = if saga.step(name).is_some() { Cause::Step(name.clone()) } else { Cause::Flow };
        match self.is_decided(saga) {
            false if saga.abort.deadline => Firing::Abort(cause),
            false => Firing::Attention(format!("{cause}, and the flow is not given up for that")),
            true => Firing::Attention(match &cause {
                Cause::Step(_) => cause.to_string(),
                _ => {
                    let missing: Vec<_> = self.expected(saga).iter().flat_map(|next| next.events.clone()).collect();
                    format!("it was decided, and what follows did not come in time: {}", missing.join(", "))
                }
            }),
        }
    }

    /// Moves the timers of an instance that was last written by a clock that was ahead of `now` by as much, so that they end when they
    /// should have. Says whether that was so.
    pub fn bring_back(&mut self, now: Timestamp) -> bool {
        let ahead = self.updated_at.since(now);
        if ahead == Duration::ZERO {
            return false;
        }
        for at in self.known.timers.values_mut() {
            *at = at.before(ahead);
        }
        self.updated_at = now;
        true
    }

    /// Takes the timers away that have ended by `now`: what they lead to was carried out.
    pub fn fired(&mut self, now: Timestamp) {
        self.known.timers.retain(|_, at| *at > now);
        self.known.given_up = None;
        self.known.attempts = 0;
    }

    /// The deadline's handler has failed: again after `wait`.
    pub fn fire_again(&mut self, now: Timestamp, wait: Duration) {
        self.known.attempts = self.known.attempts.saturating_add(1);
        for at in self.known.timers.values_mut().filter(|at| **at <= now) {
            *at = now.after(wait);
        }
    }

    /// Gives it up at the next look at its timers, for `reason`.
    pub fn give_up(&mut self, reason: impl Into<String>, now: Timestamp) {
        self.known.given_up = Some(reason.into());
        self.known.timers.insert(FLOW.to_owned(), now);
        self.known.attempts = 0;
    }

    /// Lets the timers run anew for what is left, from `now`, and gives what was in the way and can be tried again. What waits for the
    /// log in an outbox stays: it is tried again anyway.
    pub fn rearm(&mut self, saga: &Definition, now: Timestamp, deadline: Duration) -> Vec<GivenUp> {
        let (waits, stopped) =
            std::mem::take(&mut self.known.stopped).into_iter().partition::<Vec<_>, _>(|stopped| stopped.dead_letter.is_empty());
        self.attention = waits.last().map(|waits| waits.reason.clone());
        self.known.stopped = waits;
        self.known.attempts = 0;
        self.known.timers.clear();
        self.set_timers(saga, now, deadline);
        if saga.abort.deadline && !self.is_decided(saga) && self.started_at.after(deadline) <= now && self.ended_at.is_none() {
            // Its deadline has passed, and what that should have led to is tried now.
            self.known.timers.insert(FLOW.to_owned(), now);
        }
        stopped
    }
}
