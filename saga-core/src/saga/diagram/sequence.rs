//! The events between the services, for success and for each failure.

use super::{
    super::{Chart, Definition, EventRef, Step},
    Call,
    text::{identifier, mermaid},
};

/// The lane of the start event if the tracker is not known.
const START: &str = "start";

/// The arrows of the success branch and of the failure branches.
const SOLID: &str = "-)";
const DASHED: &str = "--)";

impl Chart {
    /// Returns the saga as a Mermaid sequence diagram: the success branch, then one branch for each refusal, and one for a cancel or a
    /// deadline.
    ///
    /// The lanes are the services, as far as they are known; a step without a known service has a lane of its own. Each arrow is an event.
    /// An event that triggers nothing goes to the tracker.
    pub fn sequence_diagram(&self) -> String {
        let saga = &self.definition;
        let mut script = Script::new(self);
        let refusals: Vec<_> = saga.steps.iter().filter_map(|step| Some((step, step.rejects.as_ref()?))).collect();
        let interruptions = saga.interruptions();
        let alternatives = !refusals.is_empty() || interruptions.is_some();

        if alternatives {
            script.frame("alt", "all goes well");
        }
        Branch::new(&mut script, SOLID, Done::Only(Vec::new())).all_goes_well();
        for (step, refusal) in refusals {
            script.part(&format!("{} is refused", step.name));
            Branch::new(&mut script, DASHED, Done::Only(saga.before(step))).refused(step, refusal);
        }
        if let Some(interruptions) = interruptions {
            script.part(&interruptions);
            Branch::new(&mut script, DASHED, Done::Unknown).given_up();
        }
        if alternatives {
            script.end();
        }
        script.text
    }
}

/// A diagram in construction.
struct Script<'d> {
    chart: &'d Chart,
    /// The services, and the steps without a known service.
    lanes: Vec<&'d str>,
    text: String,
    /// The number of frames around the next line.
    depth: usize,
}

impl<'d> Script<'d> {
    fn new(chart: &'d Chart) -> Self {
        let saga = &chart.definition;
        let mut script = Self { chart, lanes: Vec::new(), text: "sequenceDiagram\n".to_owned(), depth: 0 };
        script.line(&format!("title: {}, version {}", mermaid(&saga.name), saga.version));
        script.lanes.push(chart.participants.tracker.as_deref().unwrap_or(START));
        for step in saga.steps.iter().map(|step| &step.name).chain([&saga.abort.name]) {
            let lane = script.lane(step);
            if !script.lanes.contains(&lane) {
                script.lanes.push(lane);
            }
        }
        for lane in script.lanes.clone() {
            script.line(&format!("participant {} as {}", script.identifier(lane), mermaid(lane)));
        }
        script
    }

    /// Returns the lane of `step`: its service, or the step itself.
    fn lane(&self, step: &'d str) -> &'d str {
        self.chart.participants.done_by.get(step).map_or(step, String::as_str)
    }

    fn identifier(&self, lane: &str) -> String {
        identifier("at", self.lanes.iter().position(|other| *other == lane).unwrap_or_default(), lane)
    }

    fn line(&mut self, line: &str) {
        self.text += &format!("{}{line}\n", "    ".repeat(self.depth + 1));
    }

    /// Begins a frame, or the next part of one.
    fn frame(&mut self, word: &str, title: &str) {
        self.line(&format!("{word} {}", mermaid(title)));
        self.depth += 1;
    }

    fn part(&mut self, title: &str) {
        self.depth -= 1;
        self.frame("else", title);
    }

    fn end(&mut self) {
        self.depth -= 1;
        self.line("end");
    }

    fn note(&mut self, lane: &str, text: &str) {
        self.line(&format!("Note over {}: {}", self.identifier(lane), mermaid(text)));
    }
}

/// What was done before a branch begins.
enum Done<'d> {
    /// These steps.
    Only(Vec<&'d Step>),
    /// Unknown: any step before the pivot may have been done.
    Unknown,
}

/// One course of the saga: success, a refusal, or an abort.
struct Branch<'s, 'd> {
    script: &'s mut Script<'d>,
    saga: &'d Definition,
    arrow: &'static str,
    done: Done<'d>,
    /// The steps that were done or undone in this branch.
    played: Vec<&'d str>,
    aborted: bool,
}

impl<'s, 'd> Branch<'s, 'd> {
    fn new(script: &'s mut Script<'d>, arrow: &'static str, done: Done<'d>) -> Self {
        let saga = &script.chart.definition;
        Self { script, saga, arrow, done, played: Vec::new(), aborted: false }
    }

    fn all_goes_well(mut self) {
        self.follow(self.script.lanes[0], &self.saga.starts);
        self.end("COMPLETED");
    }

    fn refused(mut self, step: &'d Step, refusal: &'d EventRef) {
        self.follow(self.script.lane(&step.name), refusal);
        self.end("ABORTED");
    }

    fn given_up(mut self) {
        self.abort();
        self.end("ABORTED");
    }

    /// Adds everything that `event`, published by `from`, leads to.
    fn follow(&mut self, from: &'d str, event: &'d EventRef) {
        let calls: Vec<_> = self.saga.calls(event).into_iter().filter(|call| self.can_be(*call)).collect();
        if calls.is_empty() {
            let keeper = self.script.chart.participants.tracker.as_deref();
            self.send(from, keeper.unwrap_or(from), event);
        }
        for call in calls {
            match call {
                Call::Do(step) => {
                    let lane = self.script.lane(&step.name);
                    self.send(from, lane, event);
                    let name = if step.pivot { format!("{} (pivot)", step.name) } else { step.name.clone() };
                    self.act(lane, &step.name, &name);
                    self.follow(lane, &step.emits);
                }
                Call::Undo(step) => self.undo(from, event, step),
                Call::Abort => {
                    self.send(from, self.script.lane(&self.saga.abort.name), event);
                    self.abort();
                }
            }
        }
    }

    /// Adds a compensation. Where it is unknown which steps were done, those that the abort's event triggers are optional.
    fn undo(&mut self, from: &'d str, event: &'d EventRef, step: &'d Step) {
        let Some(undo) = &step.undo else { return };
        let optional = matches!(self.done, Done::Unknown) && event.name == self.saga.aborts.name;
        if optional {
            self.script.frame("opt", &format!("{} was done", step.name));
        }
        let lane = self.script.lane(&step.name);
        self.send(from, lane, event);
        self.act(lane, &step.name, &format!("undo {}", step.name));
        self.follow(lane, &undo.emits);
        if optional {
            self.script.end();
        }
    }

    fn abort(&mut self) {
        let name = &self.saga.abort.name;
        let lane = self.script.lane(name);
        self.aborted = true;
        self.act(lane, name, name);
        self.follow(lane, &self.saga.aborts);
    }

    /// Returns whether `call` happens in this branch: a step is done or undone once, and no step is done after the abort.
    fn can_be(&self, call: Call<'_>) -> bool {
        match call {
            Call::Do(step) => !self.aborted && !self.played.contains(&step.name.as_str()),
            Call::Undo(step) => {
                let done = match &self.done {
                    Done::Only(steps) => steps.iter().any(|done| done.name == step.name),
                    Done::Unknown => !step.pivot && self.saga.undecided_at(step),
                };
                done && !self.played.contains(&step.name.as_str())
            }
            Call::Abort => !self.aborted,
        }
    }

    fn send(&mut self, from: &str, to: &str, event: &EventRef) {
        let (from, to) = (self.script.identifier(from), self.script.identifier(to));
        self.script.line(&format!("{from}{}{to}: {}", self.arrow, mermaid(&event.name)));
    }

    /// Notes what `lane` does. The note is omitted for a lane that is the step itself, because it would only repeat the name.
    fn act(&mut self, lane: &str, step: &'d str, what: &str) {
        self.played.push(step);
        if lane != what {
            self.script.note(lane, what);
        }
    }

    fn end(self, state: &str) {
        let pivot = self.saga.steps.iter().find(|step| step.pivot).map(|step| &step.name);
        let decided_by = if self.aborted { &self.saga.abort.name } else { pivot.unwrap_or(&self.saga.abort.name) };
        let keeper = self.script.chart.participants.tracker.as_deref();
        let lane = keeper.unwrap_or_else(|| self.script.lane(decided_by));
        self.script.note(lane, state);
    }
}
