//! The flow as a graph, for Graphviz.

use std::fmt::Write;

use super::text::quoted;
use crate::saga::{Chart, EventRef, Publishes};

impl Chart {
    /// The flow as a graph in the language of Graphviz: steps, what undoes them and the abort, and every event from whoever publishes
    /// it to whoever it calls for. What goes wrong is dashed, the pivot has a double border.
    pub fn graphviz(&self) -> String {
        let saga = &self.definition;
        let mut text = format!("digraph {} {{\n    rankdir=LR;\n    node [shape=box, style=rounded];\n", quoted(&saga.name));
        let mut line = |line: String| {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "    {line};");
        };
        line("start [shape=circle, label=\"\", width=0.2]".to_owned());
        line("completed [shape=doublecircle, label=\"\", width=0.15]".to_owned());
        line("aborted [shape=doublecircle, label=\"\", width=0.15, style=dashed]".to_owned());
        for step in &saga.steps {
            let borders = if step.pivot { ", peripheries=2" } else { "" };
            line(format!(
                "{} [label={}{borders}]",
                done(&step.name),
                self.label(&step.name, self.participants.done_by.get(&step.name))
            ));
            if step.undo.is_some() {
                let label = self.label(&format!("undo {}", step.name), self.participants.undone_by.get(&step.name));
                line(format!("{} [label={label}, style=\"rounded,dashed\"]", undone(&step.name)));
            }
        }
        let label = self.label(&saga.abort.name, self.participants.done_by.get(&saga.abort.name));
        line(format!("abort [label={label}, shape=octagon, style=dashed]"));
        for step in &saga.steps {
            line(self.edge(&step.on, &done(&step.name), false));
            for on in step.undo.iter().flat_map(|undo| &undo.on) {
                line(self.edge(on, &undone(&step.name), true));
            }
        }
        for on in &saga.abort.on {
            line(self.edge(on, "abort", true));
        }
        if let Some(from_outside) = self.from_outside() {
            line(format!("outside [shape=plaintext, label={}]", quoted(from_outside)));
            line("outside -> abort [style=dashed]".to_owned());
        }
        line(self.edge(&saga.completes, "completed", false));
        line(self.edge(&saga.aborts, "aborted", true));
        text.push_str("}\n");
        text
    }

    fn label(&self, name: &str, service: Option<&String>) -> String {
        match service {
            Some(service) => {
                let (name, service) = (quoted(name), quoted(service));
                format!("{}\\n{}", &name[..name.len() - 1], &service[1..])
            }
            None => quoted(name),
        }
    }

    /// From whoever publishes `event` to `to`.
    fn edge(&self, event: &EventRef, to: &str, wrong: bool) -> String {
        let from = match self.definition.published_as(&event.name) {
            Some(Publishes::Done(step) | Publishes::Rejected(step)) => done(&step.name),
            Some(Publishes::Undone(step)) => undone(&step.name),
            Some(Publishes::Aborted(_)) => "abort".to_owned(),
            Some(Publishes::Starts) | None => "start".to_owned(),
        };
        let style = if wrong { ", style=dashed" } else { "" };
        format!("{from} -> {to} [label={}{style}]", quoted(&event.name))
    }
}

fn done(step: &str) -> String {
    quoted(&format!("do {step}"))
}

fn undone(step: &str) -> String {
    quoted(&format!("undo {step}"))
}
