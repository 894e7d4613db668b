//! What a `#[handler]` is once every rule holds.

use std::time::Duration;

use syn::{Path, Type, Visibility};

use crate::shared::Target;

/// A consumer.
pub(super) struct Handler {
    pub(super) target: Target,
    pub(super) visibility: Visibility,
    pub(super) policy: Policy,
    /// The fn to call when the attempts have ended.
    pub(super) exhausted: Option<Path>,
    /// What it does in a flow.
    pub(super) claim: Option<Claim>,
    /// Whether it takes `self`; reported.
    pub(super) method: bool,
    pub(super) arguments: Vec<Type>,
    pub(super) output: Output,
}

/// A step that the handler does, or undoes.
pub(super) struct Claim {
    pub(super) undo: bool,
    /// The enum with `#[saga]`.
    pub(super) saga: Path,
    /// Its variant, by its whole path.
    pub(super) step: Path,
    /// What stands in `On<..>` or `Undo<..>`.
    pub(super) taken: Type,
}

/// What the options say; what they do not say is left to the defaults of `saga-core`.
pub(super) struct Policy {
    pub(super) attempts: Option<u32>,
    pub(super) backoff: Option<(Duration, Duration)>,
    pub(super) timeout: Option<Duration>,
    pub(super) hold: bool,
}

/// What the fn returns.
pub(super) enum Output {
    /// No type is written.
    Unit,
    /// A type that can be named again.
    Named(Box<Type>),
    /// A type that only the fn can name.
    Opaque,
}
