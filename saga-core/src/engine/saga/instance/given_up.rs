//! What participants have given up, and what the log does not take of the flow: it is in the way until it is tried again, or nobody
//! needs it any more.

use serde::{Deserialize, Serialize};

use super::Instance;
use crate::{saga::Definition, time::Timestamp};

/// A step, or its compensation, that a participant has given up, or whose event did not reach the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// The step; empty for the event that begins the flow.
    pub step: String,
    /// Whether it was to be undone.
    pub undo: bool,
    /// Who has given it up.
    pub service: String,
    /// The dead letter there. Empty for an event that waits in the outbox there.
    pub dead_letter: String,
    /// Why, for people.
    pub reason: String,
    /// The event that did not reach the log, if that is what is in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Unsent>,
}

/// An event of a flow that is not on the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    /// Its name.
    pub name: String,
    /// Its row in the outbox of the service that keeps the instance, which has seen the event already. `None`: it is another's, and
    /// is not seen before the log has it.
    pub row: Option<i64>,
}

impl Instance {
    /// Takes in that something of the flow was given up: if the flow needs it, somebody has to look.
    pub fn stop(&mut self, saga: &Definition, given_up: GivenUp, now: Timestamp) {
        let name = |given_up: &GivenUp| given_up.event.as_ref().map(|event| event.name.clone());
        let same = |other: &GivenUp| (&other.step, other.undo, name(other)) == (&given_up.step, given_up.undo, name(&given_up));
        self.known.stopped.retain(|other| !same(other));
        if self.needs(saga, &given_up) {
            self.call_for_attention(given_up.reason.clone(), now);
            self.known.stopped.push(given_up);
        }
    }

    /// Takes in that what waited in the outbox under `row` has left it, or is to be sent again: it is not in the way any more. Says
    /// whether it was.
    pub fn left(&mut self, saga: &Definition, row: i64, now: Timestamp) -> bool {
        let before = self.known.stopped.len();
        self.known.stopped.retain(|given_up| given_up.event.as_ref().and_then(|event| event.row) != Some(row));
        let was = self.known.stopped.len() < before;
        if was {
            self.updated_at = self.updated_at.max(now);
            self.clear_the_way(saga);
        }
        was
    }

    /// The rows of the outbox that are in the way because the log does not take them yet.
    pub fn waiting_rows(&self) -> impl Iterator<Item = i64> {
        let waiting = self.known.stopped.iter().filter(|given_up| given_up.dead_letter.is_empty());
        waiting.filter_map(|given_up| given_up.event.as_ref()?.row)
    }

    /// The row under which the event of the dead letter `id` was in the outbox, if that is in the way.
    pub fn row_of_letter(&self, id: &str) -> Option<i64> {
        self.known.stopped.iter().find(|given_up| given_up.dead_letter == id)?.event.as_ref()?.row
    }

    /// Forgets what is not needed any more. What is left still calls for somebody who looks.
    pub(super) fn clear_the_way(&mut self, saga: &Definition) {
        let mut stopped = std::mem::take(&mut self.known.stopped);
        stopped.retain(|given_up| self.needs(saga, given_up));
        self.attention = stopped.last().map(|given_up| given_up.reason.clone());
        self.known.stopped = stopped;
    }

    fn needs(&self, saga: &Definition, given_up: &GivenUp) -> bool {
        let step = saga.step(&given_up.step);
        if self.known.ended_by_hand || step.is_some_and(|step| self.is_skipped(step)) {
            return false;
        }
        match &given_up.event {
            // It was seen when it was published: only that it has left settles it.
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
