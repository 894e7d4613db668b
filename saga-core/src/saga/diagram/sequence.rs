//! The flow as a Mermaid sequence diagram.

use std::fmt::Write;

use super::{
    consequences::Consequence,
    text::{id, mermaid},
};
use crate::saga::{Chart, EventRef, Step};

impl Chart {
    /// The flow as a Mermaid sequence diagram: who says what to whom when all goes well, when a step is refused, and when the flow
    /// is given up.
    pub fn sequence_diagram(&self) -> String {
        let mut diagram = Diagram { chart: self, text: "sequenceDiagram\n".to_owned() };
        diagram.participants();
        let before = self.before_the_pivot();
        let refusals: Vec<_> =
            before.iter().enumerate().filter_map(|(count, step)| Some((count, *step, step.rejects.as_ref()?))).collect();
        let alternatives = !refusals.is_empty() || self.from_outside().is_some();
        if alternatives {
            diagram.line("alt all goes well");
        }
        diagram.steps(&self.definition.starts, self.who_begins(), 0);
        for (count, step, refusal) in refusals {
            diagram.line(&format!("else {} is refused", mermaid(&step.name)));
            diagram.consequences(&before[..count], refusal, self.who_does(&step.name));
        }
        if let Some(from_outside) = self.from_outside() {
            diagram.line(&format!("else {from_outside} before the pivot"));
            let abort = &self.definition.abort;
            diagram.note(self.who_does(&abort.name), &abort.name);
            diagram.consequences(&before, &self.definition.aborts, self.who_does(&abort.name));
        }
        if alternatives {
            diagram.line("end");
        }
        diagram.text
    }
}

struct Diagram<'c> {
    chart: &'c Chart,
    text: String,
}

impl<'c> Diagram<'c> {
    fn line(&mut self, line: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "    {line}");
    }

    fn participants(&mut self) {
        let saga = &self.chart.definition;
        let by_steps = saga.steps.iter().flat_map(|step| {
            let undo = step.undo.as_ref().map(|_| self.chart.who_undoes(&step.name));
            [Some(self.chart.who_does(&step.name)), undo].into_iter().flatten()
        });
        let mut all: Vec<&str> = Vec::new();
        for participant in [self.chart.who_begins()].into_iter().chain(by_steps).chain([self.chart.who_does(&saga.abort.name)]) {
            if !all.contains(&participant) {
                all.push(participant);
            }
        }
        for participant in all {
            self.line(&format!("participant {} as {}", id("", participant), mermaid(participant)));
        }
    }

    fn note(&mut self, over: &str, what: &str) {
        self.line(&format!("Note over {}: {}", id("", over), mermaid(what)));
    }

    fn says(&mut self, from: &str, to: &str, event: &EventRef) {
        self.line(&format!("{}->>{}: {}", id("", from), id("", to), mermaid(&event.name)));
    }

    /// The steps that follow from `event`, published by `from`.
    fn steps(&mut self, event: &'c EventRef, from: &'c str, depth: usize) {
        let next: Vec<&Step> = self.chart.begun_by(event).collect();
        // A flow has no loops; the bound is for one that was read from a database.
        if next.is_empty() || depth > self.chart.definition.steps.len() {
            return self.note(from, &format!("{} is published", event.name));
        }
        for step in next {
            let who = self.chart.who_does(&step.name);
            self.says(from, who, event);
            let pivot = if step.pivot { " (pivot)" } else { "" };
            self.note(who, &format!("{}{pivot}", step.name));
            self.steps(&step.emits, who, depth + 1);
        }
    }

    /// What follows from `first`, published by `from`, when the steps in `done` were done.
    fn consequences(&mut self, done: &[&'c Step], first: &'c EventRef, from: &'c str) {
        let mut publishers = vec![(first, from)];
        let consequences = self.chart.consequences(done, first);
        if consequences.is_empty() {
            self.note(from, &format!("{} is published", first.name));
        }
        for consequence in consequences {
            let (on, who, does, publishes) = match consequence {
                Consequence::Undo(step, on) => {
                    let emits = step.undo.as_ref().map_or(on, |undo| &undo.emits);
                    (on, self.chart.who_undoes(&step.name), format!("undo {}", step.name), emits)
                }
                Consequence::Abort(on) => {
                    let abort = &self.chart.definition.abort;
                    (on, self.chart.who_does(&abort.name), abort.name.clone(), &self.chart.definition.aborts)
                }
            };
            let by = publishers.iter().find(|(event, _)| *event == on).map_or(from, |(_, by)| *by);
            self.says(by, who, on);
            self.note(who, &format!("{does}, {} is published", publishes.name));
            publishers.push((publishes, who));
        }
    }
}
