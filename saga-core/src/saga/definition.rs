//! What a saga is, as data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A flow across services: its steps in the order in which they are written, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The name, in the database and for people.
    pub name: String,
    /// The version of its shape: an instance goes on in the version in which it began.
    pub version: u32,
    /// What it is for: the first paragraph of its documentation.
    pub about: String,
    /// The type of the key that all its events share.
    pub key: String,
    /// The event that begins an instance.
    pub starts: EventRef,
    /// The event that says it succeeded.
    pub completes: EventRef,
    /// The event that says it came to nothing.
    pub aborts: EventRef,
    /// How long an instance may be undecided.
    pub deadline: Duration,
    /// The steps.
    pub steps: Vec<Step>,
    /// What leads to the abort.
    pub abort: Abort,
}

/// An event of a flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventRef {
    /// The name on the wire.
    pub name: String,
    /// The topic that carries it.
    pub topic: String,
}

/// A step: a participant's action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The variant's name.
    pub name: String,
    /// What it does: the first paragraph of its documentation.
    pub about: String,
    /// The event that calls for it.
    pub on: EventRef,
    /// The event that says it was done.
    pub emits: EventRef,
    /// The event that says it was refused; `None` for a step that cannot refuse.
    pub rejects: Option<EventRef>,
    /// What undoes it; `None` after the pivot, and for a step that says `no_undo`.
    pub undo: Option<Undo>,
    /// Whether its commit decides that the flow will succeed.
    pub pivot: bool,
    /// How long it may take, from the moment its event is known to the tracker.
    pub deadline: Option<Duration>,
}

/// What undoes a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The events that call for it.
    pub on: Vec<EventRef>,
    /// The event that says it was undone.
    pub emits: EventRef,
}

/// What gives a flow up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// The variant's name.
    pub name: String,
    /// What it does: the first paragraph of its documentation.
    pub about: String,
    /// The events that lead to it.
    pub on: Vec<EventRef>,
    /// Whether a request from outside may lead to it.
    pub cancel: bool,
    /// Whether a deadline that passes leads to it.
    pub deadline: bool,
    /// The event that says the flow was given up: the flow's `aborts`.
    pub emits: EventRef,
}

/// What an event is to the flow: who publishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publishes<'d> {
    /// It begins an instance.
    Starts,
    /// The step was done.
    Done(&'d Step),
    /// The step was refused.
    Rejected(&'d Step),
    /// The step was undone.
    Undone(&'d Step),
    /// The flow was given up.
    Aborted(&'d Abort),
}

impl Definition {
    /// The step called `name`; the abort is none.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The step whose commit decides.
    ///
    /// # Panics
    /// When there is none: `#[saga]` does not let that pass.
    pub fn pivot(&self) -> &Step {
        self.steps.iter().find(|step| step.pivot).unwrap_or_else(|| panic!("the saga {} has no pivot", self.name))
    }

    /// What the event called `name` is to the flow; `None` if it is none of its events. Each event has one publisher.
    pub fn published_as(&self, name: &str) -> Option<Publishes<'_>> {
        if self.starts.name == name {
            return Some(Publishes::Starts);
        }
        if self.aborts.name == name {
            return Some(Publishes::Aborted(&self.abort));
        }
        self.steps.iter().find_map(|step| {
            if step.emits.name == name {
                Some(Publishes::Done(step))
            } else if step.rejects.as_ref().is_some_and(|event| event.name == name) {
                Some(Publishes::Rejected(step))
            } else if step.undo.as_ref().is_some_and(|undo| undo.emits.name == name) {
                Some(Publishes::Undone(step))
            } else {
                None
            }
        })
    }

    /// All its events, each once, in the order of the flow: the start, then of each step what it publishes, then the abort.
    pub fn events(&self) -> Vec<&EventRef> {
        let mut events = vec![&self.starts];
        let published = self.steps.iter().flat_map(|step| {
            [Some(&step.emits), step.rejects.as_ref(), step.undo.as_ref().map(|undo| &undo.emits)].into_iter().flatten()
        });
        for event in published.chain([&self.aborts]) {
            if !events.contains(&event) {
                events.push(event);
            }
        }
        events
    }

    /// Whether instances of `other` can go on in this flow: the same but for what is said of it and for its deadlines.
    pub fn has_the_shape_of(&self, other: &Self) -> bool {
        let bare = |definition: &Self| {
            let mut bare = definition.clone();
            (bare.about, bare.abort.about, bare.deadline) = (String::new(), String::new(), Duration::ZERO);
            for step in &mut bare.steps {
                (step.about, step.deadline) = (String::new(), None);
            }
            bare
        };
        bare(self) == bare(other)
    }

    /// Whether the event called `name` belongs to the flow.
    pub fn has_event(&self, name: &str) -> bool {
        self.published_as(name).is_some()
    }
}

impl std::fmt::Display for EventRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}
