//! The flow as a Mermaid state diagram.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    consequences::Consequence,
    text::{id, mermaid},
};
use crate::saga::{Chart, Step};

impl Chart {
    /// The flow as a Mermaid state diagram: the way to success, what each refusal leads to, and what is undone when the flow is
    /// given up.
    pub fn state_diagram(&self) -> String {
        let mut edges = Edges::default();
        let saga = &self.definition;
        for step in self.begun_by(&saga.starts) {
            edges.add("[*]", &id("", &step.name), &saga.starts.name);
        }
        for step in &saga.steps {
            let mut next = self.begun_by(&step.emits).peekable();
            if next.peek().is_none() {
                edges.add(&id("", &step.name), "[*]", &step.emits.name);
            }
            for after in next {
                edges.add(&id("", &step.name), &id("", &after.name), &step.emits.name);
            }
        }
        let (abort, undone) = (id("", &saga.abort.name), self.undone_by_the_abort());
        let before = self.before_the_pivot();
        for (count, step) in before.iter().enumerate() {
            if let Some(refusal) = &step.rejects {
                let mut from = id("", &step.name);
                for consequence in self.consequences(&before[..count], refusal) {
                    match consequence {
                        Consequence::Undo(undone, on) if *on != saga.aborts => {
                            edges.add(&from, &id("undo_", &undone.name), &on.name);
                            from = id("undo_", &undone.name);
                        }
                        Consequence::Undo(..) => {}
                        Consequence::Abort(on) => edges.add(&from, &abort, &on.name),
                    }
                }
            }
        }
        if let Some(from_outside) = self.from_outside() {
            for step in before.iter().copied().chain(saga.steps.iter().filter(|step| step.pivot)) {
                edges.add(&id("", &step.name), &abort, from_outside);
            }
        }
        match undone.is_empty() {
            true => edges.add(&abort, "[*]", &saga.aborts.name),
            false => {
                edges.add(&abort, "give_back", &saga.aborts.name);
                let events: Vec<_> = undone.iter().filter_map(|step| Some(step.undo.as_ref()?.emits.name.as_str())).collect();
                edges.add("give_back", "[*]", &events.join(", "));
            }
        }
        let mut text = "stateDiagram-v2\n".to_owned();
        for step in &saga.steps {
            let pivot = if step.pivot { " (pivot)" } else { "" };
            name(&mut text, &id("", &step.name), &format!("{}{pivot}", step.name));
            name(&mut text, &id("undo_", &step.name), &format!("undo {}", step.name));
        }
        name(&mut text, &abort, &saga.abort.name);
        let names: Vec<_> = undone.iter().map(|step| step.name.as_str()).collect();
        name(&mut text, "give_back", &format!("undo what was done of {}", names.join(", ")));
        let used = |line: &&str| {
            let id = line.rsplit(' ').next().unwrap_or_default();
            line.starts_with("stateDiagram") || edges.names(id)
        };
        let mut text: String = text.lines().filter(used).map(|line| format!("{line}\n")).collect();
        edges.write(&mut text);
        text
    }

    /// The steps that are undone when the flow is given up from outside, in the order of the flow.
    fn undone_by_the_abort(&self) -> Vec<&Step> {
        let before = self.before_the_pivot();
        let undone: Vec<_> = self
            .consequences(&before, &self.definition.aborts)
            .into_iter()
            .filter_map(|consequence| match consequence {
                Consequence::Undo(step, _) => Some(step),
                Consequence::Abort(_) => None,
            })
            .collect();
        before.into_iter().filter(|step| undone.iter().any(|other| other.name == step.name)).collect()
    }
}

/// Says what a state is called, if that is not its identifier.
fn name(text: &mut String, id: &str, name: &str) {
    if id != name {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "    state \"{}\" as {id}", mermaid(name));
    }
}

/// Edges in the order in which they were added; between two states there is one, with all that it is for.
#[derive(Default)]
struct Edges {
    order: Vec<(String, String)>,
    labels: BTreeMap<(String, String), Vec<String>>,
}

impl Edges {
    fn add(&mut self, from: &str, to: &str, label: &str) {
        let edge = (from.to_owned(), to.to_owned());
        let labels = self.labels.entry(edge.clone()).or_default();
        if labels.is_empty() {
            self.order.push(edge);
        }
        if !labels.iter().any(|known| known == label) {
            labels.push(label.to_owned());
        }
    }

    fn names(&self, id: &str) -> bool {
        self.order.iter().any(|(from, to)| from == id || to == id)
    }

    fn write(&self, text: &mut String) {
        for edge in &self.order {
            let labels = self.labels.get(edge).map(|labels| labels.join(", ")).unwrap_or_default();
            let _ = writeln!(text, "    {} --> {}: {}", edge.0, edge.1, mermaid(&labels));
        }
    }
}
