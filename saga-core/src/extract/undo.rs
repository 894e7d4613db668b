//! The input of a compensation.

use std::any::{TypeId, type_name};

use super::{Extract, Invocation, Kind, ReadUndo, Requirements, missing};
use crate::{failure::Fault, saga::UndoInput};

/// The event that this service published when it did the step that is now undone.
///
/// The compensation of the step takes it, instead of [`On<E>`](super::On).
///
/// # Delivery
/// A compensation is called once for a step that was done. It is not called for a step that was refused or has not run; the step record
/// then keeps the abort, and a later delivery of the step has no effect.
///
/// If the handler of a step calls another system ([`Work`](super::Work)), an attempt can be interrupted. The compensation of such a step
/// takes `Undo<Option<E>>`; `None` means that the outcome of the call is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo<E>(pub E);

impl<E: UndoInput> Extract for Undo<E> {
    const KIND: Kind = Kind::Input { raw: false };

    fn require(requirements: &mut Requirements) {
        requirements.inputs.push((TypeId::of::<E>(), type_name::<E>()));
        requirements.undo = Some(ReadUndo { read: E::read_left_behind, may_be_unknown: E::MAY_BE_UNKNOWN });
    }

    fn extract(from: &mut Invocation) -> Result<Self, Fault> {
        from.take_input().map(Self).ok_or_else(missing::<Self>)
    }
}
