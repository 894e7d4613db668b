//! Items for `#[saga]`, and for the handlers of a saga's steps.

use std::{collections::BTreeMap, marker::PhantomData};

pub use crate::saga::{
    Abort, Deadline, Definition, OutcomeOf, RoleKind, Saga, Step, StepAt, TriggerOf, Undo, UndoAt, UndoOutcomeOf, UndoneFrom,
};
use crate::{
    handler::{Handler, IntoOutcome},
    message::{Event, EventType},
    saga::{EventRef, KeyOf, NoRefusal},
};

/// Determines the event type of `E`. If `E` is an event, the inherent constant exists and hides the one of [`Unknown`].
#[derive(Debug)]
pub struct Known<E>(PhantomData<fn() -> E>);

impl<E: Event> Known<E> {
    /// The event type.
    pub const EVENT: Option<EventType> = Some(EventType::of::<E>());
}

/// The event type of a type that is not an event: none. [`keyed_by`] reports that error, once.
pub trait Unknown {
    /// None.
    const EVENT: Option<EventType> = None;
}

impl<E> Unknown for Known<E> {}

/// Returns the event as data.
pub fn event(known: Option<EventType>) -> EventRef {
    known.map(|event| EventRef { name: event.name.to_owned(), topic: event.topic.to_owned() }).unwrap_or_default()
}

/// Returns the former names of the events that have some.
pub fn former(known: &[Option<EventType>]) -> BTreeMap<String, Vec<String>> {
    let renamed = known.iter().flatten().filter(|event| !event.also.is_empty());
    renamed.map(|event| (event.name.to_owned(), event.also.iter().map(|&name| name.to_owned()).collect())).collect()
}

/// Returns the event types, for the tracker to read from the log.
pub fn types(known: &[Option<EventType>]) -> Vec<EventType> {
    known.iter().copied().flatten().collect()
}

/// Checks that `E` is an event with a key of the type `K`.
pub const fn keyed_by<K, E: Event<Key: KeyOf<K>>>() {}

/// Checks that no event is written with two paths: the rules of the macro compare events by their paths.
///
/// # Panics
/// Panics at compile time if one is.
#[track_caller]
pub const fn one_path_each(events: &[Option<EventType>]) {
    let mut at = 0;
    while at < events.len() {
        let mut other = at + 1;
        while other < events.len() {
            if let (Some(one), Some(other)) = (events[at], events[other])
                && same(one.name, other.name)
            {
                panic!(
                    "two of this saga's events have one name: write each event by the same path everywhere, and give two events two names"
                );
            }
            other += 1;
        }
        at += 1;
    }
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Assigns a step to the handler.
pub fn claim_step<S, T, Out, const STEP: usize>(handler: Handler) -> Handler
where
    S: StepAt<STEP>,
    T: TriggerOf<S, STEP>,
    Out: IntoOutcome,
    Out::Published: OutcomeOf<S, STEP>,
    Out::Rejected: OutcomeOf<S, STEP>,
{
    handler.step::<S, T, STEP>()
}

/// Assigns the compensation of a step to the handler.
pub fn claim_undo<S, T, Out, const STEP: usize>(handler: Handler) -> Handler
where
    S: UndoAt<STEP>,
    T: UndoneFrom<S, STEP>,
    Out: IntoOutcome,
    Out::Published: UndoOutcomeOf<S, STEP>,
    Out::Rejected: NoRefusal,
{
    handler.undo::<S, STEP>()
}

/// Determines which outcomes a handler can return for a step.
///
/// If its type fits the step, the inherent constant exists and hides the one of [`NoAnswer`].
#[derive(Debug)]
pub struct Answer<S, Out, const STEP: usize>(PhantomData<fn() -> (S, Out)>);

impl<S, Out, const STEP: usize> Answer<S, Out, STEP>
where
    S: StepAt<STEP>,
    Out: IntoOutcome,
    Out::Published: OutcomeOf<S, STEP>,
    Out::Rejected: OutcomeOf<S, STEP>,
{
    /// The outcomes that the handler can return.
    pub const CAN: Option<Can> = Some(Can {
        emit: <Out::Published as OutcomeOf<S, STEP>>::EMITS,
        reject: <Out::Published as OutcomeOf<S, STEP>>::REJECTS || <Out::Rejected as OutcomeOf<S, STEP>>::REJECTS,
        emit_as_refusal: <Out::Rejected as OutcomeOf<S, STEP>>::EMITS,
        rejectable: S::REJECTS,
    });
}

/// The outcomes that a handler can return for a step, and whether the step can be refused.
#[derive(Debug, Clone, Copy)]
pub struct Can {
    emit: bool,
    reject: bool,
    emit_as_refusal: bool,
    rejectable: bool,
}

/// The outcomes of a handler with a type that does not fit the step: none. Another check reports that error.
pub trait NoAnswer {
    /// None.
    const CAN: Option<Can> = None;
}

impl<S, Out, const STEP: usize> NoAnswer for Answer<S, Out, STEP> {}

/// Checks that a handler can return each outcome that the definition of the step names.
///
/// # Panics
/// Panics at compile time if it cannot.
#[track_caller]
pub const fn check_answer(can: Option<Can>) {
    let Some(can) = can else { return };
    if can.emit_as_refusal {
        panic!(
            "this handler puts the step's `emits` into a `Failure`: return `emits`, and put the step's `rejects` into a `Failure`"
        );
    }
    if !can.emit {
        panic!("this handler never publishes that the step is done: return the step's `emits`");
    }
    if can.rejectable && !can.reject {
        panic!(
            "this step can be refused, and its handler never refuses: return `Result<.., Failure<..>>` with the step's `rejects`, or remove `rejects` from the step"
        );
    }
}
