//! The barrier: whether a step's action or its compensation may have an effect now.
//!
//! Messages of one flow come over several topics, so a compensation may come before its action, twice, or while the action runs.
//! What a service did at a step, and that the flow was given up, is recorded in the transaction that did it; what may follow is
//! read off those records here. That is what Seata calls *empty rollback* and *suspension*, decided in one place.

use crate::{
    saga::{Definition, RoleKind, StepRecord, StepState},
    time::Timestamp,
};

/// What a service knows of one instance: the records of its own steps.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// The flow.
    pub saga: &'k Definition,
    /// The records, of this instance only.
    pub records: &'k [StepRecord],
}

/// What happens to a message that calls for a step or its compensation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The handler is called.
    Call,
    /// The compensation is called with what the step left behind; `None`: it was begun, and nobody knows what came of it.
    Undo(Option<String>),
    /// An attempt of the step may be running until then: not now.
    Wait(Timestamp),
    /// The handler is not called, and the message is done.
    Nothing(Reason),
}

/// Why a message has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was done, refused or undone before.
    Again,
    /// The step came after its compensation, or after the flow was given up.
    Late,
    /// The compensation came before its step, or after a refusal: there is nothing to undo.
    Empty,
    /// The flow was decided the other way.
    Decided,
}

impl Reason {
    /// The reason as one word, for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::Late => "late",
            Self::Empty => "nothing_to_undo",
            Self::Decided => "decided",
        }
    }

    /// The reason for people.
    pub const fn note(self) -> &'static str {
        match self {
            Self::Again => "no effect: it was done before",
            Self::Late => "no effect: it came too late",
            Self::Empty => "no effect: there is nothing to undo",
            Self::Decided => "no effect: it was decided the other way",
        }
    }
}

/// A record that is to be written: of this step, in this state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The step.
    pub step: String,
    /// Its state.
    pub state: StepState,
}

impl Mark {
    fn new(step: &str, state: StepState) -> Self {
        Self { step: step.to_owned(), state }
    }
}

/// Moves the lease of a record that was written by a clock that was ahead of `now`: its attempt ends as much earlier. Says whether that
/// was so.
pub fn bring_back(record: &mut StepRecord, now: Timestamp) -> bool {
    let ahead = record.at.since(now);
    let Some(until) = record.until.filter(|_| !ahead.is_zero()) else { return false };
    (record.until, record.at) = (Some(until.before(ahead)), now);
    true
}

impl Known<'_> {
    /// The state of `step` here.
    pub fn state(&self, step: &str) -> Option<StepState> {
        self.record(step).map(|record| record.state)
    }

    fn record(&self, step: &str) -> Option<&StepRecord> {
        self.records.iter().find(|record| record.step == step)
    }

    /// Whether the flow is known here to be given up.
    pub fn is_aborted(&self) -> bool {
        self.state(&self.saga.abort.name) == Some(StepState::Done)
    }

    /// Whether the flow is known here to be decided for success.
    pub fn is_past_pivot(&self) -> bool {
        self.state(&self.saga.pivot().name) == Some(StepState::Done)
    }

    /// What happens to a message for `step`, to whose handler it is `kind`, and what is to be written down besides what comes of
    /// the call. `event`: the message's type, unknown for a deadline or a request.
    pub fn answer(&self, kind: RoleKind, step: &str, event: Option<&str>, now: Timestamp) -> (Answer, Vec<Mark>) {
        match kind {
            RoleKind::Step | RoleKind::Pivot => self.action(step, now),
            RoleKind::Abort => (self.abort(), Vec::new()),
            RoleKind::Undo => self.undo(step, event, now),
        }
    }

    /// Until when an attempt at `step`, or at its compensation, may be running.
    fn busy(&self, step: &str, now: Timestamp) -> Option<Timestamp> {
        self.record(step)?.until.filter(|until| *until > now)
    }

    fn action(&self, step: &str, now: Timestamp) -> (Answer, Vec<Mark>) {
        if let Some(until) = self.busy(step, now) {
            return (Answer::Wait(until), Vec::new());
        }
        let answer = match self.state(step) {
            Some(StepState::Done | StepState::Rejected | StepState::Undone) => Answer::Nothing(Reason::Again),
            Some(StepState::Barred) => Answer::Nothing(Reason::Late),
            // What a first attempt has begun is ended, even for a flow that was given up: it may have had an effect.
            Some(StepState::Begun) => Answer::Call,
            None if self.is_aborted() => return (Answer::Nothing(Reason::Late), vec![Mark::new(step, StepState::Barred)]),
            None => Answer::Call,
        };
        (answer, Vec::new())
    }

    fn abort(&self) -> Answer {
        match (self.is_past_pivot(), self.is_aborted()) {
            (true, _) => Answer::Nothing(Reason::Decided),
            (_, true) => Answer::Nothing(Reason::Again),
            _ => Answer::Call,
        }
    }

    fn undo(&self, step: &str, event: Option<&str>, now: Timestamp) -> (Answer, Vec<Mark>) {
        if let Some(until) = self.busy(step, now) {
            return (Answer::Wait(until), Vec::new());
        }
        let mut marks = Vec::new();
        if event == Some(self.saga.aborts.name.as_str()) && !self.is_aborted() {
            marks.push(Mark::new(&self.saga.abort.name, StepState::Done));
        }
        let Some(record) = self.record(step) else {
            marks.push(Mark::new(step, StepState::Barred));
            return (Answer::Nothing(Reason::Empty), marks);
        };
        let answer = match record.state {
            StepState::Done => Answer::Undo(record.record.clone()),
            StepState::Begun => Answer::Undo(None),
            StepState::Rejected => Answer::Nothing(Reason::Empty),
            StepState::Undone | StepState::Barred => Answer::Nothing(Reason::Again),
        };
        (answer, marks)
    }
}

#[cfg(test)]
mod tests;
