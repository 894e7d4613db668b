//! A saga as a table.

use super::{
    super::{Chart, EventRef},
    text::{cell, prose},
};
use crate::time::duration;

/// The content of an empty cell.
const NOTHING: &str = "–";

impl Chart {
    /// Returns the saga as Markdown: its properties, and a table with one row for each step and one for the abort, with the participants as
    /// far as they are known.
    pub fn canvas(&self) -> String {
        let saga = &self.definition;
        let mut page = format!("## {}\n\n", cell(&saga.name));
        if !saga.about.trim().is_empty() {
            page += &format!("{}\n\n", prose(&saga.about));
        }
        let tracker = self.participants.tracker.as_deref().map(cell);
        page += &row(&["saga".to_owned(), cell(&saga.name)]);
        page += &rule(2);
        for (what, value) in [
            ("version", saga.version.to_string()),
            ("key", cell(&saga.key)),
            ("starts with", event(&saga.starts)),
            ("completes with", event(&saga.completes)),
            ("aborts with", event(&saga.aborts)),
            ("deadline", duration::text(saga.deadline)),
            ("tracked by", tracker.unwrap_or_else(nothing)),
        ] {
            page += &row(&[what.to_owned(), value]);
        }
        page.push('\n');
        let columns =
            ["step", "what it does", "service", "on", "publishes", "refuses with", "undone on", "undone with", "deadline"];
        page += &row(&columns.map(str::to_owned));
        page += &rule(columns.len());
        for step in &saga.steps {
            let (undone_on, undone_with) = step
                .undo
                .as_ref()
                .map_or_else(|| (nothing(), nothing()), |undo| (listed(undo.on.iter().map(event)), event(&undo.emits)));
            page += &row(&[
                cell(&step.name) + if step.pivot { " (pivot)" } else { "" },
                about(&step.about),
                self.service(&step.name),
                event(&step.on),
                event(&step.emits),
                step.rejects.as_ref().map_or_else(nothing, event),
                undone_on,
                undone_with,
                step.deadline.map_or_else(nothing, duration::text),
            ]);
        }
        let abort = &saga.abort;
        let words = [abort.cancel.then_some("cancel"), abort.deadline.then_some("deadline")];
        let words = words.into_iter().flatten().map(|word| format!("*{word}*"));
        let on = listed(abort.on.iter().map(event).chain(words));
        let name = cell(&abort.name) + " (abort)";
        let (service, emits) = (self.service(&abort.name), event(&abort.emits));
        page += &row(&[name, about(&abort.about), service, on, emits, nothing(), nothing(), nothing(), nothing()]);
        page
    }

    fn service(&self, step: &str) -> String {
        self.participants.done_by.get(step).map_or_else(nothing, |service| cell(service))
    }
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn rule(columns: usize) -> String {
    format!("|{}\n", "---|".repeat(columns))
}

fn nothing() -> String {
    NOTHING.to_owned()
}

fn event(event: &EventRef) -> String {
    cell(&event.name)
}

fn about(text: &str) -> String {
    if text.trim().is_empty() { nothing() } else { prose(text) }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let names = names.collect::<Vec<_>>().join(", ");
    if names.is_empty() { nothing() } else { names }
}
