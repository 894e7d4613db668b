//! A deadline that has passed.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::Saga;
use crate::{
    message::{EventSet, EventType},
    time::Timestamp,
};

/// A deadline of the flow `S` has passed, or an operator gave the instance up: what the abort's handler takes as
/// `On<Deadline<S>>` when `deadline` is among the abort's triggers.
///
/// # Delivery
/// Once per instance, in the transaction that decides the race against the pivot. It comes from the tracker's timers, not from a
/// topic.
pub struct Deadline<S: Saga> {
    /// The key of the instance, as text.
    pub id: String,
    /// When the instance was begun.
    pub started_at: Timestamp,
    /// Why it is given up.
    pub cause: Cause,
    saga: PhantomData<fn() -> S>,
}

/// Why an instance is given up that nobody has refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// The deadline of the whole flow has passed.
    Flow,
    /// The deadline of this step has passed.
    Step(String),
    /// An operator said so, for this reason.
    Operator(String),
}

impl<S: Saga> Deadline<S> {
    /// A deadline of the instance `id`.
    pub fn new(id: impl Into<String>, started_at: Timestamp, cause: Cause) -> Self {
        Self { id: id.into(), started_at, cause, saga: PhantomData }
    }

    /// The key of the instance.
    ///
    /// # Errors
    /// When its text is none.
    pub fn key(&self) -> Result<S::Key, <S::Key as std::str::FromStr>::Err>
    where
        S::Key: std::str::FromStr,
    {
        self.id.parse()
    }
}

impl<S: Saga> Clone for Deadline<S> {
    fn clone(&self) -> Self {
        Self::new(self.id.clone(), self.started_at, self.cause.clone())
    }
}

impl<S: Saga> std::fmt::Debug for Deadline<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deadline").field("saga", &S::NAME).field("id", &self.id).field("cause", &self.cause).finish()
    }
}

/// It is on no topic: what takes it subscribes to nothing.
impl<S: Saga> EventSet for Deadline<S> {
    fn types() -> Vec<EventType> {
        Vec::new()
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flow => f.write_str("the deadline has passed"),
            Self::Step(step) => write!(f, "the deadline of {step} has passed"),
            Self::Operator(reason) => write!(f, "given up by an operator: {reason}"),
        }
    }
}
