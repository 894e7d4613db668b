//! The role of a handler in a saga.

use std::{any::Any, sync::Arc};

use super::{Cause, Deadline, Definition, RoleKind, StepAt, TriggerOf, UndoAt};
use crate::time::Timestamp;

/// The role of a handler in a saga.
#[derive(Debug, Clone)]
pub struct Role {
    /// The saga.
    pub saga: Arc<Definition>,
    /// The name of the step.
    pub step: &'static str,
    /// What the handler does at the step.
    pub kind: RoleKind,
    /// Whether the handler takes a deadline.
    pub deadline: bool,
    /// Creates the input of a handler that takes a deadline.
    pub make_deadline: Option<MakeDeadline>,
}

/// Creates a boxed [`Deadline`] from the key of the instance, when it started, and the cause.
pub type MakeDeadline = fn(&str, Timestamp, Cause) -> Box<dyn Any + Send>;

impl Role {
    /// Creates the role of a handler that takes `T` and does the step at `STEP` of `S`.
    pub fn step<S: StepAt<STEP>, T: TriggerOf<S, STEP>, const STEP: usize>() -> Self {
        let make_deadline: Option<MakeDeadline> =
            T::DEADLINE.then_some(|id, started_at, cause| Box::new(Deadline::<S>::new(id, started_at, cause)));
        Self { saga: Arc::new(S::definition()), step: S::STEP_NAME, kind: S::KIND, deadline: T::DEADLINE, make_deadline }
    }

    /// Creates the role of the compensation of the step at `STEP` of `S`.
    pub fn undo<S: UndoAt<STEP>, const STEP: usize>() -> Self {
        Self { saga: Arc::new(S::definition()), step: S::STEP_NAME, kind: RoleKind::Undo, deadline: false, make_deadline: None }
    }
}
