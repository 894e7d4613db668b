//! The states of an instance.
//!
//! A state is a step that is being done, a step that is being undone, or the abort. A compensation that leads to the abort and the same
//! compensation as a consequence of the abort are two states: other events lead to them, and they lead to other states.

use super::{
    super::{Chart, Definition, EventRef, Step},
    Call,
    text::{identifier, mermaid},
};

/// A state in the diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State<'d> {
    Start,
    Doing(&'d Step),
    /// A step is being undone, before or after the abort.
    Undoing(&'d Step, Era),
    Aborting,
    Completed,
    Aborted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Era {
    Before,
    After,
}

/// A transition: from, to, and its label.
type Transition<'d> = (State<'d>, State<'d>, String);

impl Chart {
    /// Returns the states of an instance as a Mermaid state diagram.
    ///
    /// A frame contains the states in which a cancel or a deadline can still abort the instance; a saga without either has no frame.
    pub fn state_diagram(&self) -> String {
        let saga = &self.definition;
        let (states, transitions) = walk(saga);
        let interruptions = saga.interruptions();
        let framed = |state: &State<'_>| interruptions.is_some() && state.is_undecided(saga);
        let (inside, outside): (Vec<State<'_>>, Vec<_>) = states.iter().partition(|state| framed(state));
        let (between, others): (Vec<_>, Vec<_>) = transitions.iter().partition(|(from, to, _)| framed(from) && framed(to));

        let mut picture = format!("stateDiagram-v2\n    accTitle: {}, version {}\n", mermaid(&saga.name), saga.version);
        if interruptions.is_some() {
            picture += "    state \"not decided yet\" as undecided {\n";
            picture.extend(inside.iter().filter_map(|state| Some(format!("        {}\n", state.declared(saga)?))));
            picture.extend(between.iter().map(|transition| format!("        {}\n", drawn(saga, transition))));
            picture += "    }\n";
        }
        picture.extend(outside.iter().filter_map(|state| Some(format!("    {}\n", state.declared(saga)?))));
        picture.extend(others.iter().map(|transition| format!("    {}\n", drawn(saga, transition))));
        if let Some(interruptions) = interruptions {
            picture += &format!("    undecided --> abort : {}\n", mermaid(&interruptions));
        }
        for end in outside.iter().filter(|state| matches!(state, State::Completed | State::Aborted)) {
            picture += &format!("    {} --> [*]\n", end.identifier(saga));
        }
        picture + &classes(saga, &states)
    }
}

impl State<'_> {
    fn identifier(self, saga: &Definition) -> String {
        let of = |kind, step: &Step| identifier(kind, saga.place(step), &step.name);
        match self {
            Self::Start => "[*]".to_owned(),
            Self::Doing(step) => of("do", step),
            Self::Undoing(step, Era::Before) => of("undo_early", step),
            Self::Undoing(step, Era::After) => of("undo", step),
            Self::Aborting => "abort".to_owned(),
            Self::Completed => "completed".to_owned(),
            Self::Aborted => "aborted".to_owned(),
        }
    }

    fn declared(self, saga: &Definition) -> Option<String> {
        let label = match self {
            Self::Start => return None,
            Self::Doing(step) if step.pivot => format!("{} (pivot)", step.name),
            Self::Doing(step) => step.name.clone(),
            Self::Undoing(step, _) => format!("undo {}", step.name),
            Self::Aborting => saga.abort.name.clone(),
            Self::Completed => "COMPLETED".to_owned(),
            Self::Aborted => "ABORTED".to_owned(),
        };
        Some(format!("state \"{}\" as {}", mermaid(&label), self.identifier(saga)))
    }

    /// Returns whether the instance can still be aborted in this state.
    fn is_undecided(self, saga: &Definition) -> bool {
        match self {
            Self::Start | Self::Undoing(_, Era::Before) => true,
            Self::Doing(step) => saga.undecided_at(step),
            _ => false,
        }
    }

    /// Returns the style class of the state, if it differs from that of a plain step.
    fn class(self) -> Option<&'static str> {
        match self {
            Self::Doing(step) if step.pivot => Some("pivot"),
            Self::Undoing(..) => Some("undo"),
            Self::Aborting | Self::Aborted => Some("abort"),
            _ => None,
        }
    }
}

/// Returns all reachable states and their transitions: from the start, and from the abort, which a cancel or a deadline may trigger.
fn walk(saga: &Definition) -> (Vec<State<'_>>, Vec<Transition<'_>>) {
    let (mut states, mut transitions, mut next) = (Vec::new(), Vec::new(), 0);
    for origin in [State::Start, State::Aborting] {
        if !states.contains(&origin) {
            states.push(origin);
        }
        while let Some(from) = states.get(next).copied() {
            for transition in leaving(saga, from) {
                if !states.contains(&transition.1) {
                    states.push(transition.1);
                }
                transitions.push(transition);
            }
            next += 1;
        }
    }
    (states, transitions)
}

/// Returns the transitions from `state`.
fn leaving<'d>(saga: &'d Definition, state: State<'d>) -> Vec<Transition<'d>> {
    let to = |event: &EventRef, otherwise| {
        let era = if let State::Undoing(_, era) = state { era } else { Era::Before };
        let mut reached = reached(saga, event, era);
        if reached.is_empty() {
            reached.push(otherwise);
        }
        reached.into_iter().map(|to| (state, to, event.name.clone())).collect::<Vec<_>>()
    };
    match state {
        State::Start => to(&saga.starts, State::Completed),
        State::Doing(step) => {
            let refused = step.rejects.iter().flat_map(|rejects| to(rejects, State::Aborted));
            to(&step.emits, State::Completed).into_iter().chain(refused).collect()
        }
        State::Undoing(step, _) => step.undo.iter().flat_map(|undo| to(&undo.emits, State::Aborted)).collect(),
        State::Aborting => {
            let undone = reached(saga, &saga.aborts, Era::After);
            let nothing = if undone.is_empty() { "" } else { " (nothing left to undo)" };
            let end = (state, State::Aborted, format!("{}{nothing}", saga.aborts));
            undone.into_iter().map(|to| (state, to, format!("{} (if done)", saga.aborts))).chain([end]).collect()
        }
        State::Completed | State::Aborted => Vec::new(),
    }
}

/// Returns the states that `event` leads to. After the abort, no step is done and the instance is not aborted again.
fn reached<'d>(saga: &'d Definition, event: &EventRef, era: Era) -> Vec<State<'d>> {
    let calls = saga.calls(event).into_iter();
    calls
        .filter_map(|call| match (call, era) {
            (Call::Do(step), Era::Before) => Some(State::Doing(step)),
            (Call::Abort, Era::Before) => Some(State::Aborting),
            (Call::Undo(step), _) => Some(State::Undoing(step, era)),
            (_, Era::After) => None,
        })
        .collect()
}

fn drawn(saga: &Definition, (from, to, label): &Transition<'_>) -> String {
    format!("{} --> {} : {}", from.identifier(saga), to.identifier(saga), mermaid(label))
}

fn classes(saga: &Definition, states: &[State<'_>]) -> String {
    let looks = [("pivot", "stroke-width:4px"), ("undo", "stroke-dasharray:5 5"), ("abort", "stroke:red")];
    let lines = looks.iter().filter_map(|(class, look)| {
        let members = states.iter().filter(|state| state.class() == Some(class)).map(|state| state.identifier(saga));
        let members = members.collect::<Vec<_>>().join(",");
        (!members.is_empty()).then(|| format!("    classDef {class} {look}\n    class {members} {class}\n"))
    });
    lines.collect()
}
