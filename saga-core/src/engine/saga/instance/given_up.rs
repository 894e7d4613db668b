//! What participants have given up: it is in the way until it is tried again, or nobody needs it any more.

use serde::{Deserialize, Serialize};

use super::Instance;
use crate::{saga::Definition, time::Timestamp};

/// A step, or its compensation, that a participant has given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// The step.
    pub step: String,
    /// Whether it was to be undone.
    pub undo: bool,
    /// Who has given it up.
    pub service: String,
    /// The dead letter there.
    pub dead_letter: String,
    /// Why, for people.
    pub reason: String,
}

impl Instance {
    /// Takes in that a participant has given something up: if the flow needs it, somebody has to look.
    pub fn stop(&mut self, saga: &Definition, given_up: GivenUp, now: Timestamp) {
        self.known.stopped.retain(|other| (&other.step, other.undo) != (&given_up.step, given_up.undo));
        if self.needs(saga, &given_up) {
            self.call_for_attention(given_up.reason.clone(), now);
            self.known.stopped.push(given_up);
        }
    }

    /// Forgets what is not needed any more. What is left still calls for somebody who looks.
    pub(super) fn clear_the_way(&mut self, saga: &Definition) {
        let mut stopped = std::mem::take(&mut self.known.stopped);
        stopped.retain(|given_up| self.needs(saga, given_up));
        self.attention = stopped.last().map(|given_up| given_up.reason.clone());
        self.known.stopped = stopped;
    }

    fn needs(&self, saga: &Definition, given_up: &GivenUp) -> bool {
        let Some(step) = saga.step(&given_up.step) else { return !self.is_decided(saga) };
        if self.is_skipped(step) {
            return false;
        }
        match given_up.undo {
            true => step.undo.as_ref().is_some_and(|undo| !self.has(&undo.emits.name)),
            false => !(self.is_done(step) || self.is_rejected(step) || self.has(&saga.aborts.name)),
        }
    }
}
