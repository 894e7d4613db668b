//! The states that an instance goes through.
//!
//! A person who draws them draws a step that is being done, a step that is being undone, and the abort between what leads to it
//! and what follows from it. So a compensation that leads to the abort and the same one as its consequence are two states: they
//! are reached by other events, and lead elsewhere.

use super::{
    super::{Chart, Definition, EventRef, Step},
    Call,
    text::{identifier, mermaid},
};

/// A state of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State<'d> {
    Start,
    Doing(&'d Step),
    /// A step is being undone before the flow is given up, or since it was.
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

/// A transition: from, to, and the text on it.
type Transition<'d> = (State<'d>, State<'d>, String);

impl Chart {
    /// The states of an instance as a state diagram for Mermaid. In the frame stands what a cancel or a deadline can still give
    /// up; a flow without either has none.
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

    /// Whether the flow may still be given up there.
    fn is_undecided(self, flow: &Definition) -> bool {
        match self {
            Self::Start | Self::Undoing(_, Era::Before) => true,
            Self::Doing(step) => flow.undecided_at(step),
            _ => false,
        }
    }

    /// How it looks different from a step.
    fn class(self) -> Option<&'static str> {
        match self {
            Self::Doing(step) if step.pivot => Some("pivot"),
            Self::Undoing(..) => Some("undo"),
            Self::Aborting | Self::Aborted => Some("abort"),
            _ => None,
        }
    }
}

/// Everything that can be reached: from the start, and from the abort, to which a cancel or a deadline may lead.
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

/// The transitions from `state`.
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

/// What `event` leads to. When the flow was given up nothing is done any more, and it is given up once.
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
