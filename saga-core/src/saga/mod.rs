//! Sagas: a flow across services, stated once as an enum with `#[saga]`.
//!
//! The attribute makes a [`Definition`] of the enum, which the start of an app is checked against, which instances are tracked
//! against and which the pictures are drawn from, and implements the traits here for the flow's events, by which the compiler
//! checks the handlers that claim its steps. A step is named by its place: `PlaceOrder::ReserveInventory as usize`.

mod deadline;
mod definition;
mod diagram;
mod participants;
mod records;
mod roles;
mod signals;

pub use deadline::{Cause, Deadline};
pub use definition::{Abort, Definition, EventRef, Publishes, Step, Undo};
pub use participants::{Chart, Participants};
pub use records::{InstanceKey, InstanceRecord, InstanceState, StepRecord, StepState};
pub use roles::{
    KeyOf, MakeDeadline, NoRefusal, OutcomeOf, Role, RoleKind, Saga, StepAt, TriggerOf, UndoAt, UndoInput, UndoOutcomeOf,
    UndoneFrom,
};
pub use signals::{RetryDeadLetter, StepGivenUp};
