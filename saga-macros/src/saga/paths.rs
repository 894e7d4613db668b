//! The paths through a saga: to the pivot without loops and branches, and from every refusal to an end where all done steps are
//! undone.

use std::collections::BTreeSet;

use super::{
    events::Publisher,
    graph::Graph,
    model::{Event, Step},
};
use crate::shared::{Errors, list};

pub(super) fn check(graph: &Graph<'_>, errors: &mut Errors) {
    if loops(graph, errors) {
        return;
    }
    let before = graph.way_to(graph.pivot);
    let around = places(graph, &before, errors);
    if !around {
        return;
    }
    refusals(graph, &before, errors);
    given_up(graph, &before, errors);
    abort_is_reachable(graph, errors);
}

impl Graph<'_> {
    /// The step that triggers the one at `place` by its event; `None` if the start event triggers it.
    fn called_by(&self, place: usize) -> Option<usize> {
        match self.published.by(self.steps[place].on.as_ref()?)? {
            Publisher::Done(before) => Some(before),
            _ => None,
        }
    }

    /// The steps before the one at `place`, beginning at the start.
    fn way_to(&self, place: usize) -> Vec<usize> {
        let mut way: Vec<usize> =
            std::iter::successors(self.called_by(place), |before| self.called_by(*before)).take(self.steps.len()).collect();
        way.reverse();
        way
    }

    /// Which steps in `done` are undone after `first` is published, and whether the saga is aborted.
    fn outcome(&self, done: &[usize], first: &Event) -> (BTreeSet<usize>, bool) {
        let (mut published, mut undone, mut aborted) = (vec![first], BTreeSet::new(), first == self.aborts);
        loop {
            let count = published.len();
            for place in done {
                let Some(undo) = &self.steps[*place].undo else { continue };
                if !undone.contains(place) && undo.on.iter().any(|on| published.contains(&on)) {
                    undone.insert(*place);
                    published.extend(&undo.emits);
                }
            }
            if !aborted && self.abort.on.iter().any(|on| published.contains(&on)) {
                aborted = true;
                published.push(self.aborts);
            }
            if published.len() == count {
                return (undone, aborted);
            }
        }
    }

    fn step(&self, place: usize) -> &Step {
        &self.steps[place]
    }
}

/// Reports steps that wait for each other, but not the steps that wait for those.
fn loops(graph: &Graph<'_>, errors: &mut Errors) -> bool {
    let mut reported: BTreeSet<usize> = BTreeSet::new();
    let mut found = false;
    for place in 0..graph.steps.len() {
        let way: Vec<usize> =
            std::iter::successors(graph.called_by(place), |before| graph.called_by(*before)).take(graph.steps.len()).collect();
        let Some(end) = way.iter().position(|before| *before == place) else { continue };
        found = true;
        if !reported.insert(place) {
            continue;
        }
        let ring = &way[..=end];
        reported.extend(ring);
        let names: Vec<String> = ring.iter().rev().map(|place| graph.step(*place).ident.to_string()).collect();
        if let Some(on) = &graph.step(place).on {
            errors.at(
                on,
                match names.as_slice() {
                    [one] => format!("`{one}` waits for itself, so that it never begins: loops are not supported"),
                    names => format!("{} wait for each other, so that none begins: loops are not supported", list(names)),
                },
            );
        }
    }
    found
}

/// Checks that the steps before the pivot can be undone, that those after it cannot fail, and that no step is on another path.
/// Returns whether the path is sound enough for further checks.
fn places(graph: &Graph<'_>, before: &[usize], errors: &mut Errors) -> bool {
    let pivot = &graph.step(graph.pivot).ident;
    let mut sound = true;
    for (place, step) in graph.steps.iter().enumerate() {
        let ident = &step.ident;
        if before.contains(&place) {
            if step.undo.is_none() && step.no_undo.is_none() {
                sound = false;
                errors.at(
                    ident,
                    format!(
                        "`{ident}` commits before the pivot, and nothing undoes it: add `undo(on = .., emits = ..)`, or `no_undo` if there is nothing to undo"
                    ),
                );
            }
            continue;
        }
        let after = graph.way_to(place).contains(&graph.pivot);
        if place != graph.pivot && !after {
            sound = false;
            errors.at(
                ident,
                format!(
                    "`{ident}` is on no path through the pivot: each step must lead to `{pivot}` or come after it (parallel branches before the pivot are not supported); set its `on` to the event that the step before `{pivot}` emits, or make it a handler without a step"
                ),
            );
            continue;
        }
        let (where_it_is, why) = if place == graph.pivot {
            ("is the pivot".to_owned(), "its commit decides that the saga succeeds")
        } else {
            (format!("comes after the pivot `{pivot}`"), "every step after the pivot must complete")
        };
        if let Some(rejects) = &step.rejects {
            errors.at(
                rejects,
                format!("`{ident}` {where_it_is}, and {why}: it cannot be refused; remove `rejects`, or move the refusal before the pivot"),
            );
        }
        if let Some(word) = step.undo.as_ref().map(|undo| &undo.word).or(step.no_undo.as_ref()) {
            errors.at(word, format!("`{ident}` {where_it_is}, and {why}: it is never undone; remove `{word}`"));
        }
    }
    if let Some(Publisher::Done(place)) = graph.published.by(graph.completes)
        && before.contains(&place)
    {
        sound = false;
        errors.at(
                graph.completes,
                format!(
                    "`{}` is emitted by `{}`, before the pivot `{pivot}`: a saga completes with what its pivot or a step after it emits",
                    graph.completes,
                    graph.step(place).ident
                ),
            );
    }
    for place in before {
        for on in graph.step(*place).undo.iter().flat_map(|undo| &undo.on) {
            if let Some(Publisher::Rejected(refused)) = graph.published.by(on)
                && !before.iter().skip_while(|step| *step != place).any(|step| *step == refused)
            {
                sound = false;
                let (ident, refused) = (&graph.step(*place).ident, &graph.step(refused).ident);
                errors.at(on, format!("when `{refused}` is refused, `{ident}` has not begun: remove `{on}`"));
            }
        }
    }
    sound
}

/// Checks that after every refusal the saga is aborted and all done steps are undone.
fn refusals(graph: &Graph<'_>, before: &[usize], errors: &mut Errors) {
    for (count, place) in before.iter().enumerate() {
        let step = graph.step(*place);
        let Some(refusal) = &step.rejects else { continue };
        let done = &before[..count];
        let (undone, aborted) = graph.outcome(done, refusal);
        let mut sound = true;
        for left in done.iter().filter(|place| graph.step(**place).undo.is_some() && !undone.contains(place)) {
            sound = false;
            nothing_undoes(graph, *left, &format!("when `{}` is refused", step.ident), refusal, errors);
        }
        if !aborted && sound {
            errors.at(
                refusal,
                format!(
                    "a refusal of `{}` leads to no end: add `{refusal}` to the `on` of the abort `{}`, or what an undo publishes after it",
                    step.ident, graph.abort.ident
                ),
            );
        }
    }
}

/// Checks that all done steps are undone when a cancellation or the deadline aborts the saga, at any point before the pivot.
fn given_up(graph: &Graph<'_>, before: &[usize], errors: &mut Errors) {
    let by = match (graph.abort.cancel, graph.abort.deadline) {
        (true, true) => "on a cancel or the deadline",
        (true, false) => "on a cancel",
        (false, true) => "on the deadline",
        (false, false) => return,
    };
    let mut reported = BTreeSet::new();
    for count in 1..=before.len() {
        let done = &before[..count];
        let (undone, _) = graph.outcome(done, graph.aborts);
        for left in done.iter().filter(|place| graph.step(**place).undo.is_some() && !undone.contains(place)) {
            if reported.insert(*left) {
                let last = &graph.step(done[count - 1]).ident;
                nothing_undoes(graph, *left, &format!("when the saga is aborted {by} after `{last}`"), graph.aborts, errors);
            }
        }
    }
}

fn nothing_undoes(graph: &Graph<'_>, left: usize, when: &str, trigger: &Event, errors: &mut Errors) {
    let step = graph.step(left);
    if let Some(undo) = &step.undo {
        errors.at(&undo.word, format!("{when}, nothing undoes `{}`: add `{trigger}` to the `on` of its `undo`", step.ident));
    }
}

/// Checks that something leads to the abort.
fn abort_is_reachable(graph: &Graph<'_>, errors: &mut Errors) {
    let abort = graph.abort;
    if !abort.cancel && !abort.deadline && graph.steps.iter().all(|step| step.rejects.is_none()) {
        errors.at(
            &abort.ident,
            format!("nothing leads to `{}`: no step can be refused, so add `cancel` or `deadline` to its `on`", abort.ident),
        );
    }
}
