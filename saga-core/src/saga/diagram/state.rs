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
        let flow = &self.definition;
        let (states, transitions) = walk(flow);
        let interruptions = flow.interruptions();
        let framed = |state: &State<'_>| interruptions.is_some() && state.is_undecided(flow);
        let (inside, outside): (Vec<State<'_>>, Vec<_>) = states.iter().partition(|state| framed(state));
        let (between, others): (Vec<_>, Vec<_>) = transitions.iter().partition(|(from, to, _)| framed(from) && framed(to));

        let mut picture = format!("stateDiagram-v2\n    accTitle: {}, version {}\n", mermaid(&flow.name), flow.version);
        if interruptions.is_some() {
            picture += "    state \"not decided yet\" as undecided {\n";
            picture.extend(inside.iter().filter_map(|state| Some(format!("        {}\n", state.declared(flow)?))));
            picture.extend(between.iter().map(|transition| format!("        {}\n", drawn(flow, transition))));
            picture += "    }\n";
        }
        picture.extend(outside.iter().filter_map(|state| Some(format!("    {}\n", state.declared(flow)?))));
        picture.extend(others.iter().map(|transition| format!("    {}\n", drawn(flow, transition))));
        if let Some(interruptions) = interruptions {
            picture += &format!("    undecided --> abort : {}\n", mermaid(&interruptions));
        }
        for end in outside.iter().filter(|state| matches!(state, State::Completed | State::Aborted)) {
            picture += &format!("    {} --> [*]\n", end.identifier(flow));
        }
        picture + &classes(flow, &states)
    }
}

impl State<'_> {
    fn identifier(self, flow: &Definition) -> String {
        let of = |kind, step: &Step| identifier(kind, flow.place(step), &step.name);
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

    fn declared(self, flow: &Definition) -> Option<String> {
        let label = match self {
            Self::Start => return None,
            Self::Doing(step) if step.pivot => format!("{} (pivot)", step.name),
            Self::Doing(step) => step.name.clone(),
            Self::Undoing(step, _) => format!("undo {}", step.name),
            Self::Aborting => flow.abort.name.clone(),
            Self::Completed => "COMPLETED".to_owned(),
            Self::Aborted => "ABORTED".to_owned(),
        };
        Some(format!("state \"{}\" as {}", mermaid(&label), self.identifier(flow)))
    }

    /// Returns whether the instance can still be aborted in this state.
    fn is_undecided(self, flow: &Definition) -> bool {
        match self {
            Self::Start | Self::Undoing(_, Era::Before) => true,
            Self::Doing(step) => flow.undecided_at(step),
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
fn walk(flow: &Definition) -> (Vec<State<'_>>, Vec<Transition<'_>>) {
    let (mut states, mut transitions, mut next) = (Vec::new(), Vec::new(), 0);
    for origin in [State::Start, State::Aborting] {
        if !states.contains(&origin) {
            states.push(origin);
        }
        while let Some(from) = states.get(next).copied() {
            for transition in leaving(flow, from) {
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
fn leaving<'d>(flow: &'d Definition, state: State<'d>) -> Vec<Transition<'d>> {
    let to = |event: &EventRef, otherwise| {
        let era = if let State::Undoing(_, era) = state { era } else { Era::Before };
        let mut reached = reached(flow, event, era);
        if reached.is_empty() {
            reached.push(otherwise);
        }
        reached.into_iter().map(|to| (state, to, event.name.clone())).collect::<Vec<_>>()
    };
    match state {
        State::Start => to(&flow.starts, State::Completed),
        State::Doing(step) => {
            let refused = step.rejects.iter().flat_map(|rejects| to(rejects, State::Aborted));
            to(&step.emits, State::Completed).into_iter().chain(refused).collect()
        }
        State::Undoing(step, _) => step.undo.iter().flat_map(|undo| to(&undo.emits, State::Aborted)).collect(),
        State::Aborting => {
            let undone = reached(flow, &flow.aborts, Era::After);
            let nothing = if undone.is_empty() { "" } else { " (nothing left to undo)" };
            let end = (state, State::Aborted, format!("{}{nothing}", flow.aborts));
            undone.into_iter().map(|to| (state, to, format!("{} (if done)", flow.aborts))).chain([end]).collect()
        }
        State::Completed | State::Aborted => Vec::new(),
    }
}

/// Returns the states that `event` leads to. After the abort, no step is done and the instance is not aborted again.
fn reached<'d>(flow: &'d Definition, event: &EventRef, era: Era) -> Vec<State<'d>> {
    let calls = flow.calls(event).into_iter();
    calls
        .filter_map(|call| match (call, era) {
            (Call::Do(step), Era::Before) => Some(State::Doing(step)),
            (Call::Abort, Era::Before) => Some(State::Aborting),
            (Call::Undo(step), _) => Some(State::Undoing(step, era)),
            (_, Era::After) => None,
        })
        .collect()
}

fn drawn(flow: &Definition, (from, to, label): &Transition<'_>) -> String {
    format!("{} --> {} : {}", from.identifier(flow), to.identifier(flow), mermaid(label))
}

fn classes(flow: &Definition, states: &[State<'_>]) -> String {
    let looks = [("pivot", "stroke-width:4px"), ("undo", "stroke-dasharray:5 5"), ("abort", "stroke:red")];
    let lines = looks.iter().filter_map(|(class, look)| {
        let members = states.iter().filter(|state| state.class() == Some(class)).map(|state| state.identifier(flow));
        let members = members.collect::<Vec<_>>().join(",");
        (!members.is_empty()).then(|| format!("    classDef {class} {look}\n    class {members} {class}\n"))
    });
    lines.collect()
}
