//! Extractors: what a handler can take as an argument.
//!
//! | argument | gives |
//! |---|---|
//! | [`On<E>`](On) | the event, or one of an enum of events |
//! | [`Undo<E>`](Undo) | what a step left behind, for the handler that undoes it |
//! | [`Batch<E>`](Batch) | all that is waiting, as one |
//! | [`Tx`] | the delivery's open transaction |
//! | [`Work`] | the right to begin that transaction later, after a call to the outside |
//! | [`State<T>`](State) | a value the service shares |
//! | [`Meta`] | ids, attempt and times of the message |
//! | [`ServiceHandle`](crate::runtime::ServiceHandle) | the service itself: its database for reading, its clock, transactions of their own |

mod meta;
mod undo;
mod work;

use std::any::{Any, TypeId, type_name};

pub use meta::Meta;
pub(crate) use meta::StepName;
pub use undo::Undo;
pub use work::{BeginFn, Work};

use crate::{
    failure::Fault,
    handler::Invocation,
    message::{EventSet, EventType},
    store::Tx,
};

/// What the arguments of a handler need, collected before anything runs.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Requirements {
    /// The event types taken.
    pub accepts: Vec<EventType>,
    /// The inputs taken, one for a handler that can be called: the type of the event or of the set of events, and its name.
    pub inputs: Vec<(TypeId, &'static str)>,
    /// Whether several messages are taken as one.
    pub batch: bool,
    /// Whether the delivery's transaction is held during the call.
    pub tx: bool,
    /// Whether the handler begins the transaction itself.
    pub work: bool,
    /// Whether the metadata of the one message is taken.
    pub meta: bool,
    /// How what a step left behind is read, for a compensation.
    pub undo: Option<ReadUndo>,
    /// The shared values taken: type and name.
    pub states: Vec<(TypeId, &'static str)>,
}

/// Reads the boxed value that a compensation takes from a step's record.
pub type ReadRecord = fn(Option<&str>) -> Result<Box<dyn Any + Send>, Fault>;

/// Reads what a step left behind, from its record, and says whether it bears none.
#[derive(Debug, Clone, Copy)]
pub struct ReadUndo {
    /// Reads it.
    pub read: ReadRecord,
    /// Whether it bears that the outcome is not known.
    pub may_be_unknown: bool,
}

/// What an extractor is to the rules that hold between the arguments of one handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `On<E>`.
    Input,
    /// `Batch<E>`.
    Batch,
    /// `Tx`.
    Held,
    /// `Work`.
    Detached,
    /// `Meta`.
    Meta,
    /// Anything else.
    Other,
}

/// An argument of a handler, which owns its arguments.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}` as an argument",
    label = "not an extractor",
    note = "a handler takes `On<E>`, `Undo<E>` or `Batch<E>`, and besides it any of `Tx`, `Work`, `State<T>`, `Meta` and `ServiceHandle`; wrap a shared value as `State<{Self}>`"
)]
pub trait Extract: Sized + Send + 'static {
    /// What it is to the rules between arguments.
    const KIND: Kind = Kind::Other;

    /// Adds what it needs.
    fn require(requirements: &mut Requirements);

    /// Takes it out of a delivery.
    ///
    /// # Errors
    /// When the delivery does not have it.
    fn extract(from: &mut Invocation) -> Result<Self, Fault>;
}

fn missing<T>() -> Fault {
    Fault::new(format!("the delivery has no `{}` for this handler; is it taken twice?", type_name::<T>()))
}

/// The event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct On<E>(pub E);

impl<E: EventSet> Extract for On<E> {
    const KIND: Kind = Kind::Input;

    fn require(requirements: &mut Requirements) {
        requirements.accepts.extend(E::types());
        requirements.inputs.push((TypeId::of::<E>(), type_name::<E>()));
    }

    fn extract(from: &mut Invocation) -> Result<Self, Fault> {
        let (value, meta) = from.messages.pop().ok_or_else(missing::<Self>)?;
        // The metadata stays for `Meta`.
        from.messages.push((Box::new(()), meta));
        value.downcast().map(|event| Self(*event)).map_err(|_| missing::<Self>())
    }
}

/// All that is waiting for this handler, as one: at least one event, in order per key.
///
/// # Delivery
/// The events share one transaction. When the handler refuses or fails, they are delivered again one by one, so that a
/// refusal or a retry concerns one message only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<E>(pub Vec<(E, Meta)>);

impl<E: EventSet> Extract for Batch<E> {
    const KIND: Kind = Kind::Batch;

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

/// A value that the service shares: what was given to `Service::state`.
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
