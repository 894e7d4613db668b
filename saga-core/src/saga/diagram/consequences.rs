//! What follows when a flow goes wrong.

use crate::saga::{Chart, EventRef, Step};

/// Something that follows.
pub(super) enum Consequence<'c> {
    /// The step is undone, on this event.
    Undo(&'c Step, &'c EventRef),
    /// The flow is given up, on this event.
    Abort(&'c EventRef),
}

impl Chart {
    /// What follows, in order, once `first` was published, when the steps in `done` were done and no others.
    pub(super) fn consequences<'c>(&'c self, done: &[&'c Step], first: &'c EventRef) -> Vec<Consequence<'c>> {
        let saga = &self.definition;
        let (mut published, mut undone, mut consequences) = (vec![first], Vec::new(), Vec::new());
        let mut aborted = *first == saga.aborts;
        loop {
            let before = published.len();
            for step in done {
                let Some(undo) = step.undo.as_ref().filter(|_| !undone.contains(&&step.name)) else { continue };
                if let Some(on) = undo.on.iter().find(|on| published.contains(on)) {
                    undone.push(&step.name);
                    published.push(&undo.emits);
                    consequences.push(Consequence::Undo(step, on));
                }
            }
            if !aborted && let Some(on) = saga.abort.on.iter().find(|on| published.contains(on)) {
                aborted = true;
                published.push(&saga.aborts);
                consequences.push(Consequence::Abort(on));
            }
            if published.len() == before {
                return consequences;
            }
        }
    }
}
