//! The events of a saga and their publishers.

use super::model::{Abort, Event, Step};
use crate::shared::{list, nearest};

/// The publisher of an event, with the index of the step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Publisher {
    /// The service that starts an instance.
    Start,
    /// The step, when it is done.
    Done(usize),
    /// The step, when it is refused.
    Rejected(usize),
    /// The compensation of the step.
    Undone(usize),
    /// The abort.
    Aborted,
}

impl Publisher {
    /// What the event means, as the end of a sentence.
    pub(super) fn means(self, steps: &[Step]) -> String {
        match self {
            Self::Start => "the saga begins".to_owned(),
            Self::Done(step) => format!("`{}` was done", steps[step].ident),
            Self::Rejected(step) => format!("`{}` was refused", steps[step].ident),
            Self::Undone(step) => format!("`{}` was undone", steps[step].ident),
            Self::Aborted => "the saga was aborted".to_owned(),
        }
    }
}

/// All events that are published in the saga.
pub(super) struct Published<'f>(Vec<(&'f Event, Publisher)>);

impl<'f> Published<'f> {
    /// Collects the events of the saga; calls `wrong` for an event that is published twice.
    pub(super) fn of(starts: &'f Event, steps: &'f [Step], abort: &'f Abort, wrong: &mut impl FnMut(&Event, String)) -> Self {
        let mut published = Self(vec![(starts, Publisher::Start)]);
        let mut add = |event: &'f Event, publisher: Publisher| match published.by(event) {
            Some(first) => wrong(
                event,
                format!(
                    "`{event}` already means that {}: each event of a saga has one meaning, so define another event for this",
                    first.means(steps)
                ),
            ),
            None => published.0.push((event, publisher)),
        };
        for (place, step) in steps.iter().enumerate() {
            let parts = [
                (step.emits.as_ref(), Publisher::Done(place)),
                (step.rejects.as_ref(), Publisher::Rejected(place)),
                (step.undo.as_ref().and_then(|undo| undo.emits.as_ref()), Publisher::Undone(place)),
            ];
            for (event, publisher) in parts {
                if let Some(event) = event {
                    add(event, publisher);
                }
            }
        }
        if let Some(event) = &abort.emits {
            add(event, Publisher::Aborted);
        }
        published
    }

    /// The publisher of `event`.
    pub(super) fn by(&self, event: &Event) -> Option<Publisher> {
        self.0.iter().find(|(known, _)| *known == event).map(|(_, publisher)| *publisher)
    }

    /// The message that nothing publishes `event`.
    pub(super) fn unpublished(&self, event: &Event) -> String {
        let names: Vec<String> = self.0.iter().map(|(event, _)| event.name()).collect();
        let wanted = event.name();
        if names.contains(&wanted) {
            return format!("`{event}` is written in two ways in this saga: write each event by the same path");
        }
        let meant = nearest(&wanted, &names).map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
        format!("nothing in this saga publishes `{event}`{meant}; its events are {}", list(&names))
    }
}
