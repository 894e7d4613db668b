//! What an instance needs and does not get: steps that participants have given up, and events that the log does not store. Each is kept
//! until it is retried, or the instance no longer needs it.

use serde::{Deserialize, Serialize};

use super::Instance;
use crate::{saga::Definition, time::Timestamp};

/// A step, or its compensation, that a participant has given up, or an event that the log has not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// The step; empty for the event that starts the saga.
    pub step: String,
    /// Whether it is the compensation, and not the step.
    pub undo: bool,
    /// The service that has given it up.
    pub service: String,
    /// The id of the dead letter in that service; empty for an event that waits in its outbox.
    pub dead_letter: String,
    /// The reason, as text for operators.
    pub reason: String,
    /// The event that did not reach the log, if that is the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Unsent>,
}

/// An event of a saga that the log has not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    /// The name of the event.
    pub name: String,
    /// The row in the outbox of the tracker's own service.
    ///
    /// The tracker sees an event of its own service when it is published, before the log stores it. `None` for an event of another service,
    /// which it sees only after the log has stored it.
    pub row: Option<i64>,
}

impl Instance {
    /// Records that something was given up, if the instance still needs it. The instance then needs attention.
    pub fn record_given_up(&mut self, saga: &Definition, given_up: GivenUp, now: Timestamp) {
        let name = |given_up: &GivenUp| given_up.event.as_ref().map(|event| event.name.clone());
        let same = |other: &GivenUp| (&other.step, other.undo, name(other)) == (&given_up.step, given_up.undo, name(&given_up));
        self.body.stopped.retain(|other| !same(other));
        if self.needs(saga, &given_up) {
            self.set_attention(given_up.reason.clone(), now);
            self.body.stopped.push(given_up);
        }
    }

    /// Records that the event in the outbox row `row` was sent, or that an operator sends it again, so that it no longer stops the instance.
    ///
    /// Returns whether the event stopped the instance until now.
    pub fn record_sent(&mut self, saga: &Definition, row: i64, now: Timestamp) -> bool {
        let before = self.body.stopped.len();
        self.body.stopped.retain(|given_up| given_up.event.as_ref().and_then(|event| event.row) != Some(row));
        let stopped = self.body.stopped.len() < before;
        if stopped {
            self.updated_at = self.updated_at.max(now);
            self.drop_unneeded(saga);
        }
        stopped
    }

    /// Returns the outbox rows that stop the instance because the log does not store them yet.
    pub fn waiting_rows(&self) -> impl Iterator<Item = i64> {
        let waiting = self.body.stopped.iter().filter(|given_up| given_up.dead_letter.is_empty());
        waiting.filter_map(|given_up| given_up.event.as_ref()?.row)
    }

    /// Returns the outbox row of the event in the dead letter `id`, if it stops the instance.
    pub fn row_of_letter(&self, id: &str) -> Option<i64> {
        self.body.stopped.iter().find(|given_up| given_up.dead_letter == id)?.event.as_ref()?.row
    }

    /// Drops what the instance no longer needs, and sets the attention to the last remaining reason, if any.
    pub(super) fn drop_unneeded(&mut self, saga: &Definition) {
        let mut stopped = std::mem::take(&mut self.body.stopped);
        stopped.retain(|given_up| self.needs(saga, given_up));
        self.attention = stopped.last().map(|given_up| given_up.reason.clone());
        self.body.stopped = stopped;
    }

    fn needs(&self, saga: &Definition, given_up: &GivenUp) -> bool {
        let step = saga.step(&given_up.step);
        if self.body.ended_by_hand || step.is_some_and(|step| self.is_skipped(step)) {
            return false;
        }
        match &given_up.event {
            // The tracker saw the event when it was published, so that does not settle it. Only its sending does.
            Some(Unsent { row: Some(_), .. }) => return true,
            Some(Unsent { name, row: None }) => return !self.has(name),
            None => {}
        }
        let Some(step) = step else { return !self.is_decided(saga) };
        match given_up.undo {
            true => step.undo.as_ref().is_some_and(|undo| !self.has(&undo.emits.name)),
            false => !(self.is_done(step) || self.is_rejected(step) || self.has(&saga.aborts.name)),
        }
    }
}
