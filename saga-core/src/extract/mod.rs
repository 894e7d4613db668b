//! Extractors: the types of a handler's arguments.
//!
//! | argument | value |
//! |---|---|
//! | [`On<E>`](On) | the event, or one event of an enum of events |
//! | [`Undo<E>`](Undo) | the event that a step published, for the compensation of the step |
//! | [`Batch<E>`](Batch) | all waiting events, in one call |
//! | [`Tx`] | the open transaction of the delivery |
//! | [`Work`] | the right to begin that transaction later, after a call to another system |
//! | [`State<T>`](State) | a value that the handlers of the service share |
//! | [`Meta`] | the ids, the attempt and the times of the delivery |
//! | [`ServiceHandle`](crate::runtime::ServiceHandle) | the service itself: its database for reading, its clock, and units of work |

mod invocation;
mod meta;
mod undo;
mod work;

use std::any::{Any, TypeId, type_name};

pub use invocation::{Invocation, StateMap};
pub use meta::Meta;
pub(crate) use meta::StepName;
pub use undo::Undo;
pub use work::{BeginFn, Work};

use crate::{
    failure::Fault,
    message::{EventSet, EventType},
    saga::LeftBehind,
    store::Tx,
};

/// What the arguments of a handler need, collected before the service starts.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Requirements {
    /// The event types that the handler takes.
    pub accepts: Vec<EventType>,
    /// The inputs: the type of the event or of the set of events, and its name. A valid handler has exactly one.
    pub inputs: Vec<(TypeId, &'static str)>,
    /// Whether the handler takes a `Batch`.
    pub batch: bool,
    /// Whether the handler takes `Tx`, so that the transaction is open during the call.
    pub tx: bool,
    /// Whether the handler takes `Work` and begins the transaction itself.
    pub work: bool,
    /// Whether the handler takes `Meta`.
    pub meta: bool,
    /// For a compensation, the function that reads its input from the step record.
    pub undo: Option<ReadUndo>,
    /// The shared values that the handler takes: type and name.
    pub states: Vec<(TypeId, &'static str)>,
}

/// Reads the boxed input of a compensation from a step record.
pub type ReadRecord = fn(Option<&LeftBehind>) -> Result<Box<dyn Any + Send>, Fault>;

/// How a compensation reads its input, and whether it accepts a step with an unknown outcome.
#[derive(Debug, Clone, Copy)]
pub struct ReadUndo {
    /// Reads the input.
    pub read: ReadRecord,
    /// Whether it accepts a step with an unknown outcome (`Undo<Option<E>>`).
    pub may_be_unknown: bool,
}

/// The kind of an extractor, for the rules about which arguments a handler can combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `On<E>` or `Undo<E>`.
    Input {
        /// Whether it takes undecoded records.
        raw: bool,
    },
    /// `Batch<E>`.
    Batch {
        /// Whether it takes undecoded records.
        raw: bool,
    },
    /// `Tx`.
    Held,
    /// `Work`.
    Detached,
    /// `Meta`.
    Meta,
    /// Any other extractor.
    Other,
}

/// An argument of a handler. Handlers own their arguments.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}` as an argument",
    label = "not an extractor",
    note = "a handler takes `On<E>`, `Undo<E>` or `Batch<E>`, and besides it any of `Tx`, `Work`, `State<T>`, `Meta` and `ServiceHandle`",
    note = "a value of `Service::state` is taken as `State(value): State<T>` with the type `sagas::extract::State`; axum's `State` is another type: in a file that imports it, write `sagas::extract::State(value): sagas::extract::State<T>`"
)]
pub trait Extract: Sized + Send + 'static {
    /// The kind of the extractor.
    const KIND: Kind = Kind::Other;

    /// Adds what the extractor needs to `requirements`.
    fn require(requirements: &mut Requirements);

    /// Takes the argument out of a delivery.
    ///
    /// # Errors
    /// Returns an error if the delivery does not have it.
    fn extract(from: &mut Invocation) -> Result<Self, Fault>;
}

fn missing<T>() -> Fault {
    Fault::new(format!("the delivery has no `{}` for this handler; is it taken twice?", type_name::<T>()))
}

/// The event of the delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct On<E>(pub E);

impl<E: EventSet> Extract for On<E> {
    const KIND: Kind = Kind::Input { raw: E::IS_RAW };

    fn require(requirements: &mut Requirements) {
        requirements.accepts.extend(E::types());
        requirements.inputs.push((TypeId::of::<E>(), type_name::<E>()));
    }

    fn extract(from: &mut Invocation) -> Result<Self, Fault> {
        from.take_input().map(Self).ok_or_else(missing::<Self>)
    }
}

/// All events that wait for this handler, in one call: at least one event, in order for each key.
///
/// # Delivery
/// The events share one transaction. If the handler refuses or fails, they are delivered again one by one, so that a refusal or a retry
/// affects one message only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<E>(pub Vec<(E, Meta)>);

impl<E: EventSet> Extract for Batch<E> {
    const KIND: Kind = Kind::Batch { raw: E::IS_RAW };

    fn require(requirements: &mut Requirements) {
        requirements.accepts.extend(E::types());
        requirements.inputs.push((TypeId::of::<E>(), type_name::<E>()));
        requirements.batch = true;
    }

    fn extract(from: &mut Invocation) -> Result<Self, Fault> {
        let events: Result<Vec<_>, Fault> = std::mem::take(&mut from.messages)
            .into_iter()
            .map(|(value, meta)| Ok((*value.downcast::<E>().map_err(|_| missing::<Self>())?, meta)))
            .collect();
        let events = events?;
        if events.is_empty() { Err(missing::<Self>()) } else { Ok(Self(events)) }
    }
}

/// A value that the handlers of the service share, set with `Service::state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State<T>(pub T);

impl<T: Clone + Send + Sync + 'static> Extract for State<T> {
    fn require(requirements: &mut Requirements) {
        requirements.states.push((TypeId::of::<T>(), type_name::<T>()));
    }

    fn extract(from: &mut Invocation) -> Result<Self, Fault> {
        from.state.value::<T>().cloned().map(Self).ok_or_else(missing::<Self>)
    }
}

impl Extract for Tx {
    const KIND: Kind = Kind::Held;

    fn require(requirements: &mut Requirements) {
        requirements.tx = true;
    }

    fn extract(from: &mut Invocation) -> Result<Self, Fault> {
        from.tx.take().ok_or_else(missing::<Self>)
    }
}

impl Extract for Work {
    const KIND: Kind = Kind::Detached;

    fn require(requirements: &mut Requirements) {
        requirements.work = true;
    }

    fn extract(from: &mut Invocation) -> Result<Self, Fault> {
        from.work.take().ok_or_else(missing::<Self>)
    }
}

impl Extract for Meta {
    const KIND: Kind = Kind::Meta;

    fn require(requirements: &mut Requirements) {
        requirements.meta = true;
    }

    fn extract(from: &mut Invocation) -> Result<Self, Fault> {
        from.messages.last().map(|(_, meta)| meta.clone()).ok_or_else(missing::<Self>)
    }
}
