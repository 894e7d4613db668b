//! The steps of a saga and the events between them, as a graph.

use super::{
    super::{Chart, Definition, EventRef, Step},
    Call,
    text::{dot, identifier},
};
use crate::time::duration;

/// The style of the edges of a compensation.
const DASHED: &str = ", style=dashed";

impl Chart {
    /// Returns the saga as a Graphviz graph: a node for each step, with its service, and an edge for each event.
    ///
    /// The edges of compensations are dashed, both to the step that is undone and from it. The pivot has a double border.
    pub fn graphviz(&self) -> String {
        let saga = &self.definition;
        let mut graph = format!("digraph \"{}\" {{\n", dot(&saga.name));
        graph += "    rankdir=LR;\n";
        graph += "    node [shape=box, style=rounded, fontname=\"Helvetica\"];\n";
        graph += "    edge [fontname=\"Helvetica\", fontsize=10];\n\n";
        graph += "    start [shape=circle, style=filled, fillcolor=black, label=\"\", width=0.2];\n";
        for step in &saga.steps {
            let pivot = if step.pivot { ", peripheries=2" } else { "" };
            graph += &format!("    {} [label=\"{}\"{pivot}];\n", node(saga, step), self.titled(&step.name));
        }
        graph += &format!("    abort [label=\"{}\", color=red];\n", self.titled(&saga.abort.name));
        if saga.abort.cancel {
            graph += "    cancel [shape=plaintext, style=\"\", label=\"cancel\"];\n";
        }
        if saga.abort.deadline {
            graph +=
                &format!("    deadline [shape=plaintext, style=\"\", label=\"deadline {}\"];\n", duration::text(saga.deadline));
        }
        graph += "    completed [shape=plaintext, style=\"\", label=\"COMPLETED\"];\n";
        graph += "    aborted [shape=plaintext, style=\"\", label=\"ABORTED\"];\n\n";

        graph += &edges(saga, "start", &saga.starts, "", None);
        for step in &saga.steps {
            let from = node(saga, step);
            graph += &edges(saga, &from, &step.emits, "", Some("completed"));
            if let Some(rejects) = &step.rejects {
                graph += &edges(saga, &from, rejects, ", color=red", None);
            }
            if let Some(undo) = &step.undo {
                graph += &edges(saga, &from, &undo.emits, DASHED, Some("aborted"));
            }
        }
        for (given, from) in [(saga.abort.cancel, "cancel"), (saga.abort.deadline, "deadline")] {
            if given {
                graph += &format!("    {from} -> abort [color=red];\n");
            }
        }
        graph += &edges(saga, "abort", &saga.aborts, ", color=red", None);
        graph += &format!("    abort -> aborted [label=\"{}\", color=red];\n", dot(&saga.aborts.name));
        graph + "}\n"
    }

    /// Returns the label of a step: its name and, on a second line, its service.
    fn titled(&self, step: &str) -> String {
        match self.participants.done_by.get(step) {
            Some(service) => format!("{}\\n{}", dot(step), dot(service)),
            None => dot(step),
        }
    }
}

fn node(saga: &Definition, step: &Step) -> String {
    identifier("do", saga.place(step), &step.name)
}

/// Returns the edges of an event: to everything that it triggers, or to `end` if it triggers nothing.
fn edges(saga: &Definition, from: &str, event: &EventRef, style: &str, end: Option<&str>) -> String {
    let calls = saga.calls(event);
    let to = calls.iter().map(|call| match call {
        Call::Do(step) => (node(saga, step), style),
        Call::Undo(step) => (node(saga, step), DASHED),
        Call::Abort => ("abort".to_owned(), style),
    });
    let end = end.filter(|_| calls.is_empty()).map(|end| (end.to_owned(), style));
    to.chain(end).map(|(to, style)| format!("    {from} -> {to} [label=\"{}\"{style}];\n", dot(&event.name))).collect()
}
