//! A listed instance.

use sagas::port::tracking::Outstanding;
use sagas::{
    saga::{Chart, InstanceView},
    time::Timestamp,
};
use serde::Serialize;

use super::{table::Cell, tracked::Tracked, words};

/// A listed instance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// The service that tracks it.
    pub(crate) service: String,
    #[serde(flatten)]
    pub(crate) view: InstanceView,
    /// Whether the current step must be undone.
    undoing: bool,
    /// When its next timer ends.
    pub(crate) due: Option<Timestamp>,
    /// The step of that timer; `None` for the deadline of the whole saga.
    due_step: Option<String>,
    /// Whether the timer has ended.
    pub(crate) overdue: bool,
    /// Whether the definition with which it began is known.
    definition_known: bool,
    #[serde(skip)]
    step: String,
}

impl Row {
    /// Lists `tracked` at `now`, with its definition if that is known.
    pub(crate) fn of(tracked: &Tracked, chart: Option<&Chart>, now: Timestamp) -> Self {
        let instance = &tracked.instance;
        let definition = chart.map(|chart| &chart.definition);
        let expected = definition.map(|definition| instance.expected(definition)).unwrap_or_default();
        let next = instance.body.timers.iter().min_by_key(|(_, at)| **at);
        Self {
            service: tracked.service.clone(),
            view: InstanceView::of(instance, definition),
            undoing: expected.first().is_some_and(|next| next.undo),
            due: next.map(|(_, at)| *at),
            // The timer of the whole saga has no step name.
            due_step: next.map(|(step, _)| step.clone()).filter(|step| !step.is_empty()),
            overdue: tracked.is_overdue(now),
            definition_known: chart.is_some(),
            step: match (instance.ended_at, expected.as_slice()) {
                (Some(_), _) => "-".to_owned(),
                (None, _) if chart.is_none() => "? (definition not known)".to_owned(),
                (None, []) => "-".to_owned(),
                (None, expected) => expected.iter().map(named).collect::<Vec<_>>().join(", "),
            },
        }
    }

    /// The headings of [`cells`](Self::cells).
    pub(crate) const HEADINGS: [&str; 9] =
        ["SAGA", "ID", "VERSION", "STATE", "STEP", "DURATION", "MOVED", "DEADLINE", "ATTENTION"];

    /// The cells of the row.
    pub(crate) fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let view = &self.view;
        let attention = view.attention.as_deref().unwrap_or("-");
        vec![
            view.saga.as_str().into(),
            view.saga_id.as_str().into(),
            view.version.to_string().into(),
            view.state.as_str().into(),
            self.step.as_str().into(),
            words::span(view.ended_at.unwrap_or(now).since(view.started_at)).into(),
            format!("{} ago", words::span(now.since(view.updated_at))).into(),
            Cell::alarming(self.deadline(now), self.overdue),
            Cell::alarming(attention, view.attention.is_some()),
        ]
    }

    /// When the next timer ends, as text.
    pub(crate) fn deadline(&self, now: Timestamp) -> String {
        let due = self.due.map_or_else(|| "-".to_owned(), |due| words::until(due, now));
        match &self.due_step {
            Some(step) => format!("{due} ({step})"),
            None => due,
        }
    }
}

/// The next step, as text.
pub(crate) fn named(next: &Outstanding<'_>) -> String {
    format!("{}{}", if next.undo { "undo " } else { "" }, next.step)
}
