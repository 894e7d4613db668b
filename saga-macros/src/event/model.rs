//! What an `#[event]` is once every rule holds.

use syn::{Attribute, Ident, Member, Type};

use crate::shared::Target;

/// What the attribute is on.
pub(super) enum Model {
    Event(Box<Event>),
    Set(Box<Set>),
    /// Neither; reported.
    Nothing,
}

/// A message.
pub(super) struct Event {
    pub(super) target: Target,
    pub(super) topic: String,
    /// `None` after a mistake.
    pub(super) key: Option<Key>,
    pub(super) name: String,
    pub(super) version: u32,
}

/// The field whose value is the record's key.
pub(super) struct Key {
    pub(super) field: Ident,
    pub(super) ty: Type,
}

/// An enum of events.
pub(super) struct Set {
    pub(super) target: Target,
    pub(super) variants: Vec<Variant>,
}

/// One event of the set.
pub(super) struct Variant {
    pub(super) ident: Ident,
    pub(super) cfgs: Vec<Attribute>,
    /// The field: `0` of `Created(OrderCreated)`.
    pub(super) field: Member,
    pub(super) event: Type,
}
