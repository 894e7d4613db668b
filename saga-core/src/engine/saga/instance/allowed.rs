//! Which events the saga allows, independently of the order in which they are seen.

use super::Instance;
use crate::saga::{Definition, Publishes, Step};

impl Instance {
    /// Returns why the event `name` contradicts the events seen so far; `None` if it is allowed.
    pub(super) fn why_not(&self, saga: &Definition, name: &str) -> Option<String> {
        let crossed = |other: &str| self.has(other).then(|| format!("{name} contradicts {other}, which was published before"));
        match saga.published_as(name) {
            None => Some(format!("{name} is no event of {}", saga.name)),
            Some(Publishes::Starts) => None,
            Some(Publishes::Aborted(_)) => crossed(&saga.pivot().emits.name),
            Some(Publishes::Done(step)) => {
                let refused = step.rejects.as_ref().and_then(|event| crossed(&event.name));
                let decided = step.pivot.then(|| crossed(&saga.aborts.name)).flatten();
                refused.or(decided).or_else(|| self.never_called(saga, step))
            }
            Some(Publishes::Rejected(step)) => crossed(&step.emits.name).or_else(|| self.never_called(saga, step)),
            Some(Publishes::Undone(step)) => step.rejects.as_ref().and_then(|event| crossed(&event.name)),
        }
    }

    /// Returns why no event can have triggered `step`: an earlier step was refused.
    fn never_called(&self, saga: &Definition, step: &Step) -> Option<String> {
        let mut calls = &step.on.name;
        // A valid saga has no loops. The limit is for a definition that was read from a database.
        for _ in 0..=saga.steps.len() {
            match saga.published_as(calls) {
                Some(Publishes::Done(before)) => {
                    if let Some(refusal) = before.rejects.as_ref().filter(|event| self.has(&event.name)) {
                        return Some(format!(
                            "{} was refused by {refusal}, so that nothing can lead to {}",
                            before.name, step.name
                        ));
                    }
                    calls = &before.on.name;
                }
                _ => return None,
            }
        }
        None
    }
}
