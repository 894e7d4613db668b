//! What `#[saga]` and the handlers that claim its steps call.

use std::marker::PhantomData;

pub use crate::saga::{
    Abort, Deadline, Definition, OutcomeOf, RoleKind, Saga, Step, StepAt, TriggerOf, Undo, UndoAt, UndoOutcomeOf, UndoneFrom,
};
use crate::{
    handler::{Handler, IntoOutcome},
    message::{Event, EventType},
    saga::{EventRef, KeyOf, NoRefusal},
};

/// An event of a flow, as it is read from the log: the inherent constant is there for an event, and hides that of [`Unknown`].
pub struct Known<E>(PhantomData<fn() -> E>);

impl<E: Event> Known<E> {
    /// The event.
    pub const EVENT: Option<EventType> = Some(EventType::of::<E>());
}

/// Nothing, for what is no event: that is reported once, by [`keyed_by`].
pub trait Unknown {
    /// Nothing.
    const EVENT: Option<EventType> = None;
}

impl<E> Unknown for Known<E> {}

/// The event, as data.
pub fn event(known: Option<EventType>) -> EventRef {
    known.map(|event| EventRef { name: event.name.to_owned(), topic: event.topic.to_owned() }).unwrap_or_default()
}

/// The events, to be read from the log.
pub fn types(known: &[Option<EventType>]) -> Vec<EventType> {
    known.iter().copied().flatten().collect()
}

/// That `E` is an event whose key has the type `K`.
pub const fn keyed_by<K, E: Event<Key: KeyOf<K>>>() {}

/// That no event is written in two ways: the rules of a flow are about its events as they are written.
///
/// # Panics
/// While compiling, when one is.
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

/// The handler, as the one that does a step.
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

/// The handler, as the one that undoes a step.
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

/// What a handler that does a step can say of it: the inherent constant is there for one that fits, and hides that of
/// [`NoAnswer`].
pub struct Answer<S, Out, const STEP: usize>(PhantomData<fn() -> (S, Out)>);

impl<S, Out, const STEP: usize> Answer<S, Out, STEP>
where
    S: StepAt<STEP>,
    Out: IntoOutcome,
    Out::Published: OutcomeOf<S, STEP>,
    Out::Rejected: OutcomeOf<S, STEP>,
{
    /// What it can say.
    pub const CAN: Option<Can> = Some(Can {
        emit: <Out::Published as OutcomeOf<S, STEP>>::EMITS,
        reject: <Out::Published as OutcomeOf<S, STEP>>::REJECTS || <Out::Rejected as OutcomeOf<S, STEP>>::REJECTS,
        emit_as_refusal: <Out::Rejected as OutcomeOf<S, STEP>>::EMITS,
        rejectable: S::REJECTS,
    });
}

/// What can be said of a step.
#[derive(Clone, Copy)]
pub struct Can {
    emit: bool,
    reject: bool,
    emit_as_refusal: bool,
    rejectable: bool,
}

/// Nothing, for a handler that does not fit: that is reported elsewhere.
pub trait NoAnswer {
    /// Nothing.
    const CAN: Option<Can> = None;
}

impl<S, Out, const STEP: usize> NoAnswer for Answer<S, Out, STEP> {}

/// That a handler says of a step what its flow says of it, no less.
///
/// # Panics
/// While compiling, when it does not.
#[track_caller]
pub const fn check_answer(can: Option<Can>) {
    let Some(can) = can else { return };
    if can.emit_as_refusal {
        panic!("a `Failure` refuses: it holds the step's `rejects`, and the step's `emits` is returned");
    }
    if !can.emit {
        panic!("this handler never says that the step was done: return the step's `emits`");
    }
    if can.rejectable && !can.reject {
        panic!(
            "this step can be refused, and its handler never refuses: return `Result<.., Failure<..>>` with the step's `rejects`, or remove `rejects` from the step"
        );
    }
}
