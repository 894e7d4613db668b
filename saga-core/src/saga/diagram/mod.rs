//! Pictures of a flow, drawn from its [`Chart`]: what the compiler checks and the runtime follows is also what one sees.

mod canvas;
mod consequences;
mod graphviz;
mod sequence;
mod state;
#[cfg(test)]
mod tests;
mod text;

use super::{Chart, EventRef, Publishes, Step};

impl Chart {
    /// The steps before the pivot, in the order in which they follow each other.
    fn before_the_pivot(&self) -> Vec<&Step> {
        let mut way = Vec::new();
        let Some(pivot) = self.definition.steps.iter().find(|step| step.pivot) else { return way };
        let mut on = &pivot.on;
        // A flow has no loops; the bound is for one that was read from a database.
        while let (Some(Publishes::Done(step)), true) =
            (self.definition.published_as(&on.name), way.len() < self.definition.steps.len())
        {
            way.push(step);
            on = &step.on;
        }
        way.reverse();
        way
    }

    /// The steps that begin with `event`.
    fn begun_by<'c>(&'c self, event: &'c EventRef) -> impl Iterator<Item = &'c Step> {
        self.definition.steps.iter().filter(move |step| step.on == *event)
    }

    /// Who does a step, or the abort: the service, or, as long as that is not known, the step.
    fn who_does<'c>(&'c self, step: &'c str) -> &'c str {
        self.participants.done_by.get(step).map_or(step, String::as_str)
    }

    /// Who undoes a step.
    fn who_undoes<'c>(&'c self, step: &'c str) -> &'c str {
        self.participants.undone_by.get(step).map_or_else(|| self.who_does(step), String::as_str)
    }

    /// Who begins an instance.
    fn who_begins(&self) -> &str {
        self.participants.tracker.as_deref().unwrap_or("whoever begins")
    }

    /// What leads to the abort from outside, as one would say it.
    fn from_outside(&self) -> Option<&'static str> {
        match (self.definition.abort.cancel, self.definition.abort.deadline) {
            (true, true) => Some("cancel or deadline"),
            (true, false) => Some("cancel"),
            (false, true) => Some("deadline"),
            (false, false) => None,
        }
    }
}
