//! The model of a `#[handler]` that follows all rules.

use std::time::Duration;

use syn::{Path, Type, Visibility};

use crate::shared::Target;

/// A handler.
pub(super) struct Handler {
    pub(super) target: Target,
    pub(super) visibility: Visibility,
    pub(super) policy: Policy,
    /// The fn that is called after the last attempt.
    pub(super) exhausted: Option<Path>,
    /// The step of a saga that it does or undoes.
    pub(super) claim: Option<Claim>,
    /// Whether it takes `self`; this is reported.
    pub(super) method: bool,
    pub(super) arguments: Vec<Type>,
    pub(super) output: Output,
    /// The error type, if it does not seem to name a refusal although the body refuses.
    pub(super) unnamed_refusal: Option<Type>,
}

/// A step that the handler does or undoes.
pub(super) struct Claim {
    pub(super) undo: bool,
    /// The enum with `#[saga]`.
    pub(super) saga: Path,
    /// Its variant, by the whole path.
    pub(super) step: Path,
    /// The type in `On<..>` or `Undo<..>`.
    pub(super) taken: Type,
}

/// The options that are given; for the others, `saga-core` has defaults.
pub(super) struct Policy {
    pub(super) attempts: Option<u32>,
    pub(super) backoff: Option<(Duration, Duration)>,
    pub(super) timeout: Option<Duration>,
    pub(super) hold: bool,
    pub(super) topic: Option<String>,
}

/// The return type.
pub(super) enum Output {
    /// No type is written.
    Unit,
    /// A type that generated code can name.
    Named(Box<Type>),
    /// A type that generated code cannot name.
    Opaque,
}
