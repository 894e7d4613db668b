//! The barrier: whether a step or its compensation still has an effect.
//!
//! Messages of one saga come from several topics, so a compensation can come before its step, twice, or while the step runs. The state of a
//! step, and the abort of the instance, are recorded in the transaction that caused them; the barrier decides from these records. Seata
//! calls the two cases *empty rollback* and *suspension*.

use crate::{
    saga::{Definition, LeftBehind, RoleKind, StepRecord, StepState},
    time::Timestamp,
};

/// The step records of one instance in one service.
#[derive(Debug, Clone, Copy)]
pub struct StepRecords<'k> {
    /// The saga.
    pub saga: &'k Definition,
    /// The records, all of the same instance.
    pub records: &'k [StepRecord],
}

/// What happens to a message that triggers a step or its compensation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BarrierDecision {
    /// The handler is called.
    Call,
    /// The compensation is called with the event that the step published; `None` if the step was begun and its outcome is unknown.
    Undo(Option<LeftBehind>),
    /// An attempt of the step may be running until this time; the message is put off.
    Wait(Timestamp),
    /// The handler is not called, and the message is done.
    Nothing(NoEffect),
}

/// Why a message has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoEffect {
    /// The step was done, refused or undone before.
    Again,
    /// The step came after its compensation, or after the abort.
    Late,
    /// The compensation came before its step, or after a refusal: there is nothing to undo.
    Empty,
    /// The race between the pivot and the abort was decided the other way.
    Decided,
}

impl NoEffect {
    /// Returns the reason as one word, for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::Late => "late",
            Self::Empty => "nothing_to_undo",
            Self::Decided => "decided",
        }
    }

    /// Returns the reason as text, for the history of the instance.
    pub const fn note(self) -> &'static str {
        match self {
            Self::Again => "no effect: it was done before",
            Self::Late => "no effect: it came too late",
            Self::Empty => "no effect: there is nothing to undo",
            Self::Decided => "no effect: it was decided the other way",
        }
    }
}

/// The new state of a step, to be written to its record.
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

/// Corrects a record that was written by a clock ahead of `now`: moves the end of its attempt back by the difference.
///
/// Returns whether it did.
pub fn bring_back(record: &mut StepRecord, now: Timestamp) -> bool {
    let ahead = record.at.since(now);
    let Some(until) = record.until.filter(|_| !ahead.is_zero()) else { return false };
    (record.until, record.at) = (Some(until.before(ahead)), now);
    true
}

impl StepRecords<'_> {
    /// Returns the state of `step` in this service.
    pub fn state(&self, step: &str) -> Option<StepState> {
        self.record(step).map(|record| record.state)
    }

    fn record(&self, step: &str) -> Option<&StepRecord> {
        self.records.iter().find(|record| record.step == step)
    }

    /// Returns whether this service knows that the instance was aborted.
    pub fn is_aborted(&self) -> bool {
        self.state(&self.saga.abort.name) == Some(StepState::Done)
    }

    /// Returns whether this service knows that the pivot is done.
    pub fn is_past_pivot(&self) -> bool {
        self.state(&self.saga.pivot().name) == Some(StepState::Done)
    }

    /// Decides what happens to a message for `step` and a handler with the role `kind`, and returns the records to write in addition to the
    /// result of the call.
    ///
    /// `event` is the type of the message; `None` for a deadline or a request.
    pub fn decide(&self, kind: RoleKind, step: &str, event: Option<&str>, now: Timestamp) -> (BarrierDecision, Vec<Mark>) {
        match kind {
            RoleKind::Step | RoleKind::Pivot => self.action(step, now),
            RoleKind::Abort => (self.abort(), Vec::new()),
            RoleKind::Undo => self.undo(step, event, now),
        }
    }

    /// Returns the time until which an attempt of `step`, or of its compensation, may be running.
    fn busy(&self, step: &str, now: Timestamp) -> Option<Timestamp> {
        self.record(step)?.until.filter(|until| *until > now)
    }

    fn action(&self, step: &str, now: Timestamp) -> (BarrierDecision, Vec<Mark>) {
        if let Some(until) = self.busy(step, now) {
            return (BarrierDecision::Wait(until), Vec::new());
        }
        let answer = match self.state(step) {
            Some(StepState::Done | StepState::Rejected | StepState::Undone) => BarrierDecision::Nothing(NoEffect::Again),
            Some(StepState::Barred) => BarrierDecision::Nothing(NoEffect::Late),
            // An earlier attempt may have had an effect, so the step is finished, even if the instance was aborted meanwhile.
            Some(StepState::Begun) => BarrierDecision::Call,
            None if self.is_aborted() => {
                return (BarrierDecision::Nothing(NoEffect::Late), vec![Mark::new(step, StepState::Barred)]);
            }
            None => BarrierDecision::Call,
        };
        (answer, Vec::new())
    }

    fn abort(&self) -> BarrierDecision {
        match (self.is_past_pivot(), self.is_aborted()) {
            (true, _) => BarrierDecision::Nothing(NoEffect::Decided),
            (_, true) => BarrierDecision::Nothing(NoEffect::Again),
            _ => BarrierDecision::Call,
        }
    }

    fn undo(&self, step: &str, event: Option<&str>, now: Timestamp) -> (BarrierDecision, Vec<Mark>) {
        if let Some(until) = self.busy(step, now) {
            return (BarrierDecision::Wait(until), Vec::new());
        }
        let mut marks = Vec::new();
        if event == Some(self.saga.aborts.name.as_str()) && !self.is_aborted() {
            marks.push(Mark::new(&self.saga.abort.name, StepState::Done));
        }
        let Some(record) = self.record(step) else {
            marks.push(Mark::new(step, StepState::Barred));
            return (BarrierDecision::Nothing(NoEffect::Empty), marks);
        };
        let answer = match record.state {
            StepState::Done => BarrierDecision::Undo(record.record.clone()),
            StepState::Begun => BarrierDecision::Undo(None),
            StepState::Rejected => BarrierDecision::Nothing(NoEffect::Empty),
            StepState::Undone | StepState::Barred => BarrierDecision::Nothing(NoEffect::Again),
        };
        (answer, marks)
    }
}

#[cfg(test)]
mod tests;
