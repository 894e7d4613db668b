//! What `#[saga]` says of types, so that the compiler checks the handlers that claim a step.
//!
//! `S` is the flow, and `STEP` the place of a step in it: `PlaceOrder::ReserveInventory as usize`.

use std::{any::Any, sync::Arc};

use super::{Deadline, Definition};
use crate::{
    failure::{Fault, RefusesNothing},
    message::{Event, EventKey, EventType, Identified},
};

/// A flow across services. Implemented by `#[saga]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a saga",
    label = "not a saga",
    note = "put `#[saga(key = .., starts = .., completes = .., aborts = .., deadline = \"..\")]` on the enum `{Self}`"
)]
pub trait Saga: Send + Sync + 'static {
    /// The type of the key that all its events share.
    type Key: EventKey;
    /// The event that begins an instance.
    type Starts: Event;
    /// The event that says it succeeded.
    type Completes: Event;
    /// The event that says it came to nothing.
    type Aborts: Event;

    /// The name, in the database and for people.
    const NAME: &'static str;
    /// The version of its shape.
    const VERSION: u32;

    /// The flow as data.
    fn definition() -> Definition;

    /// Its events, each once, to be read from the log.
    fn events() -> Vec<EventType>;

    /// The name of this step, or of the abort: the variant's.
    fn step_name(&self) -> &'static str;
}

/// There is a step, or the abort, at this place.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a saga with this step",
    label = "no step of a saga",
    note = "name a variant of an enum with `#[saga(..)]`"
)]
pub trait StepAt<const STEP: usize>: Saga {
    /// The variant's name.
    const STEP_NAME: &'static str;
    /// What it is: a step, the pivot or the abort.
    const KIND: RoleKind;
    /// Whether it can be refused.
    const REJECTS: bool;
}

/// The step at this place can be undone.
#[diagnostic::on_unimplemented(
    message = "this step of `{Self}` has no `undo`",
    label = "nothing undoes this step",
    note = "add `undo(on = .., emits = ..)` to the step in the definition of `{Self}`"
)]
pub trait UndoAt<const STEP: usize>: StepAt<STEP> {
    /// The events that call for the compensation, to be read from the log.
    fn triggers() -> Vec<EventType>;
}

/// An event, an enum of events or a [`Deadline`] that calls for the step.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not call for this step of `{S}`",
    label = "not in the step's `on`",
    note = "take `On<..>` of what stands in the step's `on` in the definition of `{S}`"
)]
pub trait TriggerOf<S, const STEP: usize> {
    /// Whether it is a deadline.
    const DEADLINE: bool = false;
}

/// An event that says what came of the step, or an enum of such events.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what this step of `{S}` publishes",
    label = "neither the step's `emits` nor its `rejects`",
    note = "return the step's `emits`, or a `Result` of it and a `Failure` of the step's `rejects`, as in the definition of `{S}`"
)]
pub trait OutcomeOf<S, const STEP: usize> {
    /// Whether it can say that the step was done.
    const EMITS: bool;
    /// Whether it can say that the step was refused.
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

/// What the step left behind, as its compensation takes it: the step's `emits`, or an `Option` of it.
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

/// What a handler that cannot refuse says as its *no*: nothing.
#[diagnostic::on_unimplemented(
    message = "a compensation cannot be refused, and this one says no with `{Self}`",
    label = "a refusal",
    note = "return `Result<.., Failure>`: what cannot be undone now is tried again, and then needs attention"
)]
pub trait NoRefusal {}

impl NoRefusal for RefusesNothing {}

/// A key that is one of a saga's: the type `K` itself.
#[diagnostic::on_unimplemented(
    message = "this event is keyed by `{Self}`, and its saga by `{K}`",
    label = "all events of a saga share its key",
    note = "give the event a key field of the type `{K}`: `#[event(.., key = ..)]`"
)]
pub trait KeyOf<K> {}

impl<K> KeyOf<K> for K {}

/// What a compensation can take: an event that the step left behind, or an `Option` of one, `None` where the step was begun and
/// nobody knows what came of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a step leaves behind",
    label = "not an event",
    note = "take `Undo<E>` or `Undo<Option<E>>`, where `E` is the step's `emits`"
)]
pub trait UndoInput: Sized + Send + 'static {
    /// Whether it can say that the outcome is not known.
    const MAY_BE_UNKNOWN: bool;

    /// The boxed value of what was recorded, as JSON; `None`: the step was begun, and nobody knows what came of it.
    ///
    /// # Errors
    /// When the record is not what this type is written as.
    fn read(record: Option<&str>) -> Result<Box<dyn Any + Send>, Fault>;
}

#[diagnostic::do_not_recommend]
impl<E: Event> UndoInput for E {
    const MAY_BE_UNKNOWN: bool = false;

    fn read(record: Option<&str>) -> Result<Box<dyn Any + Send>, Fault> {
        let record =
            record.ok_or_else(|| Fault::new("the step was begun, and nobody knows what came of it: take `Undo<Option<..>>`"))?;
        Ok(Box::new(E::from_json(record.as_bytes())?))
    }
}

#[diagnostic::do_not_recommend]
impl<E: Event> UndoInput for Option<E> {
    const MAY_BE_UNKNOWN: bool = true;

    fn read(record: Option<&str>) -> Result<Box<dyn Any + Send>, Fault> {
        Ok(Box::new(record.map(|record| E::from_json(record.as_bytes())).transpose()?))
    }
}

/// What a handler does in a flow.
#[derive(Debug, Clone)]
pub struct Role {
    /// The flow.
    pub saga: Arc<Definition>,
    /// The step.
    pub step: &'static str,
    /// What it does there.
    pub kind: RoleKind,
    /// Whether it takes a deadline.
    pub deadline: bool,
    /// Makes the message of a deadline, for a handler that takes one.
    pub make_deadline: Option<MakeDeadline>,
}

/// Makes the boxed [`Deadline`] of the instance with this key that was begun then.
pub type MakeDeadline = fn(&str, crate::time::Timestamp, super::Cause) -> Box<dyn Any + Send>;

/// What can be done at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RoleKind {
    /// The action of a step before or after the pivot.
    Step,
    /// The action whose commit decides that the flow will succeed.
    Pivot,
    /// Gives the flow up.
    Abort,
    /// Undoes a step.
    Undo,
}

impl Role {
    /// The claim of the step at `STEP` of `S`, by a handler that takes `T`.
    pub fn step<S: StepAt<STEP>, T: TriggerOf<S, STEP>, const STEP: usize>() -> Self {
        let make_deadline: Option<MakeDeadline> =
            T::DEADLINE.then_some(|id, started_at, cause| Box::new(Deadline::<S>::new(id, started_at, cause)));
        Self { saga: Arc::new(S::definition()), step: S::STEP_NAME, kind: S::KIND, deadline: T::DEADLINE, make_deadline }
    }

    /// The claim of what undoes the step at `STEP` of `S`.
    pub fn undo<S: UndoAt<STEP>, const STEP: usize>() -> Self {
        Self { saga: Arc::new(S::definition()), step: S::STEP_NAME, kind: RoleKind::Undo, deadline: false, make_deadline: None }
    }
}
