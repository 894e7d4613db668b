//! What a step left behind.

use std::any::{TypeId, type_name};

use super::{Extract, Kind, ReadUndo, Requirements, missing};
use crate::{failure::Fault, handler::Invocation, saga::UndoInput};

/// What this service did at a step of the instance that is being undone: the event that the step published. Taken by the handler
/// that undoes the step, instead of [`On<E>`](super::On).
///
/// # Delivery
/// A compensation is called once for a step that was done, and not at all for one that was refused or never came: that it came
/// first is remembered, and the late step is refused. Of a step whose handler calls out ([`Work`](super::Work)), an attempt may
/// have been cut off: its compensation takes `Undo<Option<E>>`, and `None` says that nobody knows what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo<E>(pub E);

impl<E: UndoInput> Extract for Undo<E> {
    const KIND: Kind = Kind::Input;

    fn require(requirements: &mut Requirements) {
        requirements.inputs.push((TypeId::of::<E>(), type_name::<E>()));
        requirements.undo = Some(ReadUndo { read: E::read, may_be_unknown: E::MAY_BE_UNKNOWN });
    }

    fn extract(from: &mut Invocation) -> Result<Self, Fault> {
        let (value, meta) = from.messages.pop().ok_or_else(missing::<Self>)?;
        from.messages.push((Box::new(()), meta));
        value.downcast().map(|record| Self(*record)).map_err(|_| missing::<Self>())
    }
}
