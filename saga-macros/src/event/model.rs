//! The model of an `#[event]` that follows all rules.

use syn::{Attribute, Ident, Member, Path, Type};

use crate::shared::Target;

/// What the attribute is on.
pub(super) enum Model {
    Event(Box<Event>),
    Set(Box<Set>),
    /// Neither; this is reported.
    Nothing,
}

/// An event.
pub(super) struct Event {
    pub(super) target: Target,
    pub(super) topic: String,
    /// `None` after a mistake.
    pub(super) key: Option<Key>,
    pub(super) name: String,
    pub(super) version: u32,
    /// The previous names of the event.
    pub(super) also: Vec<String>,
    /// Sorted by version.
    pub(super) upcasts: Vec<Upcast>,
    /// `None` is JSON.
    pub(super) codec: Option<Type>,
}

/// A function that converts the shape of one version to the next.
pub(super) struct Upcast {
    pub(super) from: u32,
    pub(super) function: Path,
}

/// The key of the record.
pub(super) struct Key {
    /// The paths of fields, each a field or a field inside another; several are joined.
    pub(super) paths: Vec<Vec<Ident>>,
    /// The type of the key, where it is known.
    pub(super) ty: Option<Type>,
}

/// An enum of events.
pub(super) struct Set {
    pub(super) target: Target,
    pub(super) variants: Vec<Variant>,
}

/// One event of a set.
pub(super) struct Variant {
    pub(super) ident: Ident,
    pub(super) cfgs: Vec<Attribute>,
    /// The field that holds the event: `0` in `Created(OrderCreated)`.
    pub(super) field: Member,
    pub(super) event: Type,
}
