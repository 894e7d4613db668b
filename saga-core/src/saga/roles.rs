//! The traits that `#[saga]` implements, so that the compiler checks the handlers of a saga's steps.
//!
//! `S` is the saga, and `STEP` the position of a step in it: `PlaceOrder::ReserveInventory as usize`.

use std::any::Any;

use super::{Definition, LeftBehind};
use crate::{
    failure::{Fault, RefusesNothing},
    message::{Event, EventKey, EventType, Identified},
};

/// A business transaction across services. Implemented by `#[saga]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a saga",
    label = "not a saga",
    note = "put `#[saga(key = .., starts = .., completes = .., aborts = .., deadline = \"..\")]` on the enum `{Self}`"
)]
pub trait Saga: Send + Sync + 'static {
    /// The type of the key that all events of the saga share.
    type Key: EventKey;
    /// The event that starts an instance.
    type Starts: Event;
    /// The event that an instance publishes when it succeeds.
    type Completes: Event;
    /// The event that an instance publishes when it is given up.
    type Aborts: Event;

    /// The name of the saga.
    const NAME: &'static str;
    /// The version of the definition.
    const VERSION: u32;

    /// Returns the definition as data.
    fn definition() -> Definition;

    /// Returns all events of the saga, each once, for the tracker to read from the log.
    fn events() -> Vec<EventType>;

    /// Returns the name of this step, or of the abort: the variant's name.
    fn step_name(&self) -> &'static str;
}

/// Implemented if the saga has a step, or the abort, at the position `STEP`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a saga with this step",
    label = "no step of a saga",
    note = "name a variant of an enum with `#[saga(..)]`"
)]
pub trait StepAt<const STEP: usize>: Saga {
    /// The variant's name.
    const STEP_NAME: &'static str;
    /// Whether it is a step, the pivot or the abort.
    const KIND: RoleKind;
    /// Whether it can be refused.
    const REJECTS: bool;
}

/// Implemented if the step at the position `STEP` has a compensation.
#[diagnostic::on_unimplemented(
    message = "this step of `{Self}` has no `undo`",
    label = "nothing undoes this step",
    note = "add `undo(on = .., emits = ..)` to the step in the definition of `{Self}`"
)]
pub trait UndoAt<const STEP: usize>: StepAt<STEP> {
    /// Returns the events that trigger the compensation, for its handler to take.
    fn triggers() -> Vec<EventType>;
}

/// An event, an enum of events or a [`Deadline`](super::Deadline) that triggers the step.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not trigger this step of `{S}`",
    label = "not in the step's `on`",
    note = "take `On<..>` of the event in the step's `on` in the definition of `{S}`"
)]
pub trait TriggerOf<S, const STEP: usize> {
    /// Whether it is a deadline.
    const DEADLINE: bool = false;
}

/// An event that the step publishes as its outcome, or an enum of such events.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what this step of `{S}` publishes",
    label = "neither the step's `emits` nor its `rejects`",
    note = "return the step's `emits`, or a `Result` of it and a `Failure` of the step's `rejects`, as in the definition of `{S}`"
)]
pub trait OutcomeOf<S, const STEP: usize> {
    /// Whether it can mean that the step was done.
    const EMITS: bool;
    /// Whether it can mean that the step was refused.
    const REJECTS: bool;
}

impl<S, const STEP: usize> OutcomeOf<S, STEP> for RefusesNothing {
    const EMITS: bool = false;
    const REJECTS: bool = false;
}

impl<S, E: OutcomeOf<S, STEP>, const STEP: usize> OutcomeOf<S, STEP> for Identified<E> {
    const EMITS: bool = E::EMITS;
    const REJECTS: bool = E::REJECTS;
}

/// The input of the step's compensation: the step's `emits`, or an `Option` of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what this step of `{S}` leaves behind",
    label = "not the step's `emits`",
    note = "take `Undo<..>` of the step's `emits` in the definition of `{S}`; `Undo<Option<..>>` for a step that calls out"
)]
pub trait UndoneFrom<S, const STEP: usize> {}

impl<S, T: UndoneFrom<S, STEP>, const STEP: usize> UndoneFrom<S, STEP> for Option<T> {}

/// What the compensation of the step publishes: the `emits` of its `undo`, or an `Option` of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what the compensation of this step of `{S}` publishes",
    label = "not the `emits` of the step's `undo`",
    note = "return the `emits` of the step's `undo` in the definition of `{S}`; an `Option` of it where there may be nothing to undo"
)]
pub trait UndoOutcomeOf<S, const STEP: usize> {}

impl<S, T: UndoOutcomeOf<S, STEP>, const STEP: usize> UndoOutcomeOf<S, STEP> for Option<T> {}

impl<S, E: UndoOutcomeOf<S, STEP>, const STEP: usize> UndoOutcomeOf<S, STEP> for Identified<E> {}

/// The refusal type of a handler that cannot refuse, such as a compensation.
#[diagnostic::on_unimplemented(
    message = "a compensation cannot be refused, and this one refuses with `{Self}`",
    label = "a refusal",
    note = "return `Result<.., Failure>`: what cannot be undone now is tried again, and then needs attention"
)]
pub trait NoRefusal {}

impl NoRefusal for RefusesNothing {}

/// The key type of a saga's events: implemented for the type `K` itself only.
#[diagnostic::on_unimplemented(
    message = "this event is keyed by `{Self}`, and its saga by `{K}`",
    label = "all events of a saga share its key",
    note = "give the event a key field of the type `{K}`: `#[event(.., key = ..)]`"
)]
pub trait KeyOf<K> {}

impl<K> KeyOf<K> for K {}

/// The input of a compensation: the event that the step published, or an `Option` of it, `None` where the step was begun and its outcome is
/// unknown.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a step leaves behind",
    label = "not an event",
    note = "take `Undo<E>` or `Undo<Option<E>>`, where `E` is the step's `emits`"
)]
pub trait UndoInput: Sized + Send + 'static {
    /// Whether the type can represent an unknown outcome.
    const MAY_BE_UNKNOWN: bool;

    /// Decodes the input from the step record. `None` means that the step was begun and its outcome is unknown.
    ///
    /// # Errors
    /// Returns an error if the record cannot be decoded as this type, or if there is none and the type cannot represent an unknown outcome.
    fn read_left_behind(record: Option<&LeftBehind>) -> Result<Box<dyn Any + Send>, Fault>;
}

#[diagnostic::do_not_recommend]
impl<E: Event> UndoInput for E {
    const MAY_BE_UNKNOWN: bool = false;

    fn read_left_behind(record: Option<&LeftBehind>) -> Result<Box<dyn Any + Send>, Fault> {
        let record =
            record.ok_or_else(|| Fault::new("the step was begun, and its result is unknown: take `Undo<Option<..>>`"))?;
        Ok(Box::new(E::read(&record.bytes()?, record.version)?))
    }
}

#[diagnostic::do_not_recommend]
impl<E: Event> UndoInput for Option<E> {
    const MAY_BE_UNKNOWN: bool = true;

    fn read_left_behind(record: Option<&LeftBehind>) -> Result<Box<dyn Any + Send>, Fault> {
        Ok(Box::new(record.map(|record| E::read(&record.bytes()?, record.version)).transpose()?))
    }
}

/// What a handler can do at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RoleKind {
    /// Does a step before or after the pivot.
    Step,
    /// Does the pivot. Its commit decides that the saga completes.
    Pivot,
    /// Aborts the instance.
    Abort,
    /// Undoes a step.
    Undo,
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::message::Json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Reserved {
        order_id: u64,
        shelf: u32,
    }

    impl Event for Reserved {
        type Key = u64;
        type Codec = Json;
        const NAME: &'static str = "Reserved";
        const TOPIC: &'static str = "inventory";
        const VERSION: u32 = 2;

        fn key(&self) -> String {
            self.order_id.to_string()
        }

        fn read(value: &[u8], version: u32) -> Result<Self, Fault> {
            match version {
                1 => Ok(Self { order_id: serde_json::from_slice(value)?, shelf: 0 }),
                _ => Ok(serde_json::from_slice(value)?),
            }
        }
    }

    #[test]
    fn what_a_step_left_behind_is_read_as_the_version_it_was_written_as() {
        let left = |value: &str, version| LeftBehind { value: value.to_owned(), version };
        for (left, shelf) in [(left("7", 1), 0), (left(r#"{"order_id":7,"shelf":3}"#, 2), 3)] {
            let read = <Reserved as UndoInput>::read_left_behind(Some(&left)).expect("is read").downcast::<Reserved>();
            assert_eq!(*read.expect("is one"), Reserved { order_id: 7, shelf });
            let read = <Option<Reserved> as UndoInput>::read_left_behind(Some(&left)).expect("is read");
            assert_eq!(read.downcast::<Option<Reserved>>().expect("is one").expect("is there").shelf, shelf);
        }
        assert!(<Reserved as UndoInput>::read_left_behind(Some(&left("7", 2))).is_err());
    }
}
