//! What is done, and what is expected next.

use super::Instance;
use crate::{
    saga::{Definition, Publishes},
    time::Timestamp,
};

/// Something that is expected to happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outstanding<'d> {
    /// The step, or the abort, that is expected.
    pub step: &'d str,
    /// Whether the compensation of the step is expected.
    pub undo: bool,
    /// The events that would report it; one of them is expected.
    pub events: Vec<&'d str>,
    /// The event that triggers it.
    pub on: &'d str,
}

impl Instance {
    /// Returns what is done, ordered by time: the step, the event that reported it, and when that was published.
    pub fn done<'d>(&self, saga: &'d Definition) -> Vec<(&'d str, String, Timestamp)> {
        let mut done: Vec<_> = self
            .body
            .seen
            .iter()
            .filter_map(|(event, seen)| {
                let step = match saga.published_as(event)? {
                    Publishes::Starts => return None,
                    Publishes::Done(step) | Publishes::Rejected(step) | Publishes::Undone(step) => step.name.as_str(),
                    Publishes::Aborted(abort) => abort.name.as_str(),
                };
                Some((step, event.clone(), seen.at))
            })
            .collect();
        let place = |event: &str| saga.events().iter().position(|known| known.name == event);
        done.sort_by_key(|one| (one.2, place(&one.1)));
        done
    }

    /// Returns what is expected next; empty if the instance has ended.
    pub fn expected<'d>(&self, saga: &'d Definition) -> Vec<Outstanding<'d>> {
        if self.ended_at.is_some() {
            return Vec::new();
        }
        let (aborted, mut expected) = (self.has(&saga.aborts.name), Vec::new());
        for step in &saga.steps {
            let settled = self.is_done(step) || self.is_rejected(step) || self.is_skipped(step);
            if !aborted && !settled && self.has(&step.on.name) {
                let events = [Some(&step.emits), step.rejects.as_ref()].into_iter().flatten();
                let events = events.map(|event| event.name.as_str()).collect();
                expected.push(Outstanding { step: &step.name, undo: false, events, on: &step.on.name });
            }
            if let Some(undo) = step.undo.as_ref().filter(|_| self.awaits_undo(step))
                && let Some(on) = undo.on.iter().find(|on| self.has(&on.name))
            {
                expected.push(Outstanding { step: &step.name, undo: true, events: vec![&undo.emits.name], on: &on.name });
            }
        }
        if !aborted && let Some(on) = saga.abort.on.iter().find(|on| self.has(&on.name)) {
            expected.push(Outstanding { step: &saga.abort.name, undo: false, events: vec![&saga.aborts.name], on: &on.name });
        }
        expected
    }
}
