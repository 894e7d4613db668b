//! The definition of a saga, as data.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

/// A saga: its events, its steps in the order in which they are declared, its abort and its deadlines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The name of the saga.
    pub name: String,
    /// The version of the definition. An instance continues in the version in which it started.
    pub version: u32,
    /// The purpose: the first paragraph of the saga's documentation.
    pub about: String,
    /// The type of the key that all events of the saga share.
    pub key: String,
    /// The event that starts an instance.
    pub starts: EventRef,
    /// The event that an instance publishes when it succeeds.
    pub completes: EventRef,
    /// The event that an instance publishes when it is given up.
    pub aborts: EventRef,
    /// How long an instance can be undecided.
    pub deadline: Duration,
    /// The steps.
    pub steps: Vec<Step>,
    /// The abort.
    pub abort: Abort,
    /// The former names of events (`also`), by their current name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub former: BTreeMap<String, Vec<String>>,
}

/// An event of a saga.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventRef {
    /// The event's name in records.
    pub name: String,
    /// The topic of the event.
    pub topic: String,
}

/// A step: the part of a saga that one service does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The name of the enum's variant.
    pub name: String,
    /// What the step does: the first paragraph of its documentation.
    pub about: String,
    /// The event that triggers the step.
    pub on: EventRef,
    /// The event that the step publishes when it is done.
    pub emits: EventRef,
    /// The event that the step publishes when it is refused; `None` for a step that cannot refuse.
    pub rejects: Option<EventRef>,
    /// The compensation; `None` after the pivot, and for a step with `no_undo`.
    pub undo: Option<Undo>,
    /// Whether this is the pivot: once it is done, the saga completes.
    pub pivot: bool,
    /// How long the step can take, from the moment when the tracker sees the event that triggers it.
    pub deadline: Option<Duration>,
}

/// The compensation of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The events that trigger the compensation.
    pub on: Vec<EventRef>,
    /// The event that the compensation publishes.
    pub emits: EventRef,
}

/// The abort of a saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// The name of the enum's variant.
    pub name: String,
    /// What the abort does: the first paragraph of its documentation.
    pub about: String,
    /// The events that trigger the abort.
    pub on: Vec<EventRef>,
    /// Whether a service can trigger it with [`UnitOfWork::abort`](crate::runtime::UnitOfWork::abort).
    pub cancel: bool,
    /// Whether a deadline that passes triggers it.
    pub deadline: bool,
    /// The event that the abort publishes: the saga's `aborts`.
    pub emits: EventRef,
}

/// What the publication of an event means for the saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publishes<'d> {
    /// An instance started.
    Starts,
    /// The step was done.
    Done(&'d Step),
    /// The step was refused.
    Rejected(&'d Step),
    /// The step was undone.
    Undone(&'d Step),
    /// The instance was aborted.
    Aborted(&'d Abort),
}

impl Definition {
    /// Returns the step `name`. The abort is not a step.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Returns the pivot.
    ///
    /// # Panics
    /// Panics if there is no pivot. `#[saga]` rejects such a definition.
    pub fn pivot(&self) -> &Step {
        self.steps.iter().find(|step| step.pivot).unwrap_or_else(|| panic!("the saga {} has no pivot", self.name))
    }

    /// Returns what the event `name` means for the saga; `None` if it is not an event of the saga. Each event has exactly one meaning.
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

    /// Returns all events, each once: the start, then the events that each step publishes, then the abort.
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

    /// Returns the event of a record of `topic` with the type `name`, which is its current or a former name; `None` if the saga has no such
    /// event.
    pub fn event(&self, topic: &str, name: &str) -> Option<&EventRef> {
        let had =
            |event: &EventRef| self.former.get(&event.name).is_some_and(|former| former.iter().any(|former| former == name));
        self.events().into_iter().find(|event| event.topic == topic && (event.name == name || had(event)))
    }

    /// Returns whether instances of `other` can continue with this definition.
    ///
    /// The two can differ only in documentation, deadlines and former names of events.
    pub fn has_the_shape_of(&self, other: &Self) -> bool {
        let bare = |definition: &Self| {
            let mut bare = definition.clone();
            (bare.about, bare.abort.about, bare.deadline) = (String::new(), String::new(), Duration::ZERO);
            bare.former.clear();
            for step in &mut bare.steps {
                (step.about, step.deadline) = (String::new(), None);
            }
            bare
        };
        bare(self) == bare(other)
    }

    /// Returns whether the event `name` belongs to the saga.
    pub fn has_event(&self, name: &str) -> bool {
        self.published_as(name).is_some()
    }
}

impl std::fmt::Display for EventRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}
