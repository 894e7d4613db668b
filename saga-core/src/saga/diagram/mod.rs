//! Diagrams of a saga, generated from its [`Definition`], so they are never out of date.
//!
//! There are four: the states of an instance, the events between the services, the steps with the events between them, and a table of all
//! of it. Each is a method of [`Chart`] and returns text in Mermaid, Graphviz or Markdown. Names are escaped for each format.
//!
//! ```
//! # use saga_core::saga::{Chart, Definition};
//! fn page(definition: Definition) -> String {
//!     let chart = Chart::of(definition);
//!     format!("{}\n```mermaid\n{}```\n", chart.canvas(), chart.state_diagram())
//! }
//! ```
//!
//! [`Chart`]: super::Chart

mod canvas;
mod graphviz;
mod sequence;
mod state;
mod text;

use super::{Definition, EventRef, Publishes, Step};
use crate::time::duration;

/// What an event triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call<'d> {
    /// A step is done.
    Do(&'d Step),
    /// A step is undone.
    Undo(&'d Step),
    /// The instance is aborted.
    Abort,
}

impl Definition {
    /// Returns what `event` triggers: steps in their order, then compensations in reverse order, then the abort.
    fn calls(&self, event: &EventRef) -> Vec<Call<'_>> {
        let steps = self.steps.iter().filter(|step| step.on.name == event.name).map(Call::Do);
        let undone = |step: &&Step| step.undo.as_ref().is_some_and(|undo| undo.on.iter().any(|on| on.name == event.name));
        let undos = self.steps.iter().rev().filter(undone).map(Call::Undo);
        let abort = self.abort.on.iter().any(|on| on.name == event.name).then_some(Call::Abort);
        steps.chain(undos).chain(abort).collect()
    }

    /// Returns the steps that lead to `step`, the nearest first.
    fn before(&self, step: &Step) -> Vec<&Step> {
        let (mut before, mut on) = (Vec::new(), &step.on);
        while let Some(Publishes::Done(cause)) = self.published_as(&on.name) {
            before.push(cause);
            on = &cause.on;
            // A valid saga has no loops. The limit is for a definition that was read from a database.
            if before.len() > self.steps.len() {
                break;
            }
        }
        before
    }

    /// Returns whether the instance can still be aborted while `step` is done: it is the pivot, or before it.
    fn undecided_at(&self, step: &Step) -> bool {
        !self.before(step).iter().any(|before| before.pivot)
    }

    /// Returns the position of `step` among the steps.
    fn place(&self, step: &Step) -> usize {
        self.steps.iter().position(|other| other.name == step.name).unwrap_or_default()
    }

    /// Describes what aborts an instance although no step was refused: `a cancel, or a deadline (15m in all, 30s for Pay)`.
    fn interruptions(&self) -> Option<String> {
        let limits = self.steps.iter().filter(|step| self.undecided_at(step));
        let limits = limits.filter_map(|step| Some(format!(", {} for {}", duration::text(step.deadline?), step.name)));
        let deadline = || format!("a deadline ({} in all{})", duration::text(self.deadline), limits.collect::<String>());
        match (self.abort.cancel, self.abort.deadline) {
            (true, true) => Some(format!("a cancel, or {}", deadline())),
            (true, false) => Some("a cancel".to_owned()),
            (false, true) => Some(deadline()),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests;
