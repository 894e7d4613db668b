//! The flow as a table.

use std::fmt::Write;

use super::text::{cell, time};
use crate::saga::{Chart, EventRef, Step};

impl Chart {
    /// The flow as a saga canvas, in Markdown: what it is for, and of each step what it does, who does it, what it begins with, what
    /// it says, and what undoes it.
    pub fn canvas(&self) -> String {
        let saga = &self.definition;
        let mut text = String::new();
        let name = format!("**{}**, version {}", cell(&saga.name), saga.version);
        let about = if saga.about.is_empty() { String::new() } else { format!(": {}", cell(&saga.about)) };
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name}{about}\n");
        let _ = writeln!(text, "| key | begins with | completes with | aborts with | undecided for at most |");
        let _ = writeln!(text, "|---|---|---|---|---|");
        let ends = [&saga.starts, &saga.completes, &saga.aborts].map(code);
        let _ = writeln!(text, "| {} | {} | {} |\n", cell(&saga.key), ends.join(" | "), time(saga.deadline));
        let _ = writeln!(text, "| step | what it does | who | on | done | refused | undone | undone on | deadline |");
        let _ = writeln!(text, "|---|---|---|---|---|---|---|---|---|");
        for step in &saga.steps {
            self.row(&mut text, step);
        }
        let abort = &saga.abort;
        let outside = [("cancel", abort.cancel), ("deadline", abort.deadline)];
        let outside = outside.into_iter().filter(|(_, said)| *said).map(|(word, _)| word.to_owned());
        let on: Vec<_> = abort.on.iter().map(code).chain(outside).collect();
        let who = self.participants.done_by.get(&abort.name).map(|who| cell(who)).unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} *(abort)* | {} | {who} | {} | {} | | | | |",
            cell(&abort.name),
            cell(&abort.about),
            on.join(", "),
            code(&abort.emits)
        );
        text
    }

    fn row(&self, text: &mut String, step: &Step) {
        let pivot = if step.pivot { " *(pivot)*" } else { "" };
        let who = self.participants.done_by.get(&step.name).map(|who| cell(who)).unwrap_or_default();
        let refused = step.rejects.as_ref().map(code).unwrap_or_default();
        let undone = step.undo.as_ref().map(|undo| code(&undo.emits)).unwrap_or_default();
        let on: Vec<_> = step.undo.iter().flat_map(|undo| &undo.on).map(code).collect();
        let deadline = step.deadline.map(time).unwrap_or_default();
        let cells = [
            format!("{}{pivot}", cell(&step.name)),
            cell(&step.about),
            who,
            code(&step.on),
            code(&step.emits),
            refused,
            undone,
            on.join(", "),
            deadline,
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

fn code(event: &EventRef) -> String {
    cell(&event.name)
}
