//! The steps of a flow and the events between them.

use super::{
    super::{Chart, Definition, EventRef, Step},
    Call,
    text::{dot, duration, identifier},
};

/// An edge of a compensation.
const DASHED: &str = ", style=dashed";

impl Chart {
    /// The flow for Graphviz: a node for each step, with who does it, and an edge for each event. What compensates is dashed:
    /// into the step that is to be undone, and out of it when it was. The pivot has two borders.
    pub fn graphviz(&self) -> String {
        let flow = &self.definition;
        let mut graph = format!("digraph \"{}\" {{\n", dot(&flow.name));
        graph += "    rankdir=LR;\n";
        graph += "    node [shape=box, style=rounded, fontname=\"Helvetica\"];\n";
        graph += "    edge [fontname=\"Helvetica\", fontsize=10];\n\n";
        graph += "    start [shape=circle, style=filled, fillcolor=black, label=\"\", width=0.2];\n";
        for step in &flow.steps {
            let pivot = if step.pivot { ", peripheries=2" } else { "" };
            graph += &format!("    {} [label=\"{}\"{pivot}];\n", node(flow, step), self.titled(&step.name));
        }
        graph += &format!("    abort [label=\"{}\", color=red];\n", self.titled(&flow.abort.name));
        if flow.abort.cancel {
            graph += "    cancel [shape=plaintext, style=\"\", label=\"cancel\"];\n";
        }
        if flow.abort.deadline {
            graph += &format!("    deadline [shape=plaintext, style=\"\", label=\"deadline {}\"];\n", duration(flow.deadline));
        }
        graph += "    completed [shape=plaintext, style=\"\", label=\"COMPLETED\"];\n";
        graph += "    aborted [shape=plaintext, style=\"\", label=\"ABORTED\"];\n\n";

        graph += &edges(flow, "start", &flow.starts, "", None);
        for step in &flow.steps {
            let from = node(flow, step);
            graph += &edges(flow, &from, &step.emits, "", Some("completed"));
            if let Some(rejects) = &step.rejects {
                graph += &edges(flow, &from, rejects, ", color=red", None);
            }
            if let Some(undo) = &step.undo {
                graph += &edges(flow, &from, &undo.emits, DASHED, Some("aborted"));
            }
        }
        for (given, from) in [(flow.abort.cancel, "cancel"), (flow.abort.deadline, "deadline")] {
            if given {
                graph += &format!("    {from} -> abort [color=red];\n");
            }
        }
        graph += &edges(flow, "abort", &flow.aborts, ", color=red", None);
        graph += &format!("    abort -> aborted [label=\"{}\", color=red];\n", dot(&flow.aborts.name));
        graph + "}\n"
    }

    /// The name of a step, and below it who does it.
    fn titled(&self, step: &str) -> String {
        match self.participants.done_by.get(step) {
            Some(service) => format!("{}\\n{}", dot(step), dot(service)),
            None => dot(step),
        }
    }
}

fn node(flow: &Definition, step: &Step) -> String {
    identifier("do", flow.place(step), &step.name)
}

/// The edges of an event: to whatever it calls for, or else to `end`.
fn edges(flow: &Definition, from: &str, event: &EventRef, style: &str, end: Option<&str>) -> String {
    let calls = flow.calls(event);
    let to = calls.iter().map(|call| match call {
        Call::Do(step) => (node(flow, step), style),
        Call::Undo(step) => (node(flow, step), DASHED),
        Call::Abort => ("abort".to_owned(), style),
    });
    let end = end.filter(|_| calls.is_empty()).map(|end| (end.to_owned(), style));
    to.chain(end).map(|(to, style)| format!("    {from} -> {to} [label=\"{}\"{style}];\n", dot(&event.name))).collect()
}
