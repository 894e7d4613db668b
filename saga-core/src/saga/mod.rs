//! Sagas: business transactions across services, each defined once as an enum with `#[saga]`.
//!
//! The attribute generates a [`Definition`] from the enum. The start of an app is checked against it, the tracker follows instances with
//! it, and diagrams are drawn from it. The attribute also implements the traits of this module for the events of the saga, so that the
//! compiler checks the handlers of its steps. A step is identified by its position: `PlaceOrder::ReserveInventory as usize`.

mod deadline;
mod definition;
mod diagram;
mod participants;
mod records;
mod role;
mod roles;
mod signals;

pub use deadline::{Cause, Deadline};
pub use definition::{Abort, Definition, EventRef, Publishes, Step, Undo};
pub use participants::{Chart, Participants};
pub use records::{InstanceKey, InstanceRecord, InstanceState, LeftBehind, StepRecord, StepState};
pub use role::{MakeDeadline, Role};
pub use roles::{KeyOf, NoRefusal, OutcomeOf, RoleKind, Saga, StepAt, TriggerOf, UndoAt, UndoInput, UndoOutcomeOf, UndoneFrom};
pub use signals::{RetryDeadLetter, StepGivenUp};
