//! Deadlines of instances that have passed.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::Saga;
use crate::{
    message::{EventSet, EventType},
    time::Timestamp,
};

/// A deadline of an instance of the saga `S` has passed, or an operator gave the instance up.
///
/// The handler of the abort takes it as `On<Deadline<S>>` if `deadline` is among the abort's triggers.
///
/// # Delivery
/// It is delivered once for each instance, in the transaction that decides the race between the abort and the pivot. It comes from the
/// tracker's timers, not from a topic.
pub struct Deadline<S: Saga> {
    /// The key of the instance, as text.
    pub id: String,
    /// When the instance started.
    pub started_at: Timestamp,
    /// Why the instance is given up.
    pub cause: Cause,
    saga: PhantomData<fn() -> S>,
}

/// Why an instance is given up although no step was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// The deadline of the instance has passed.
    Saga,
    /// The deadline of this step has passed.
    Step(String),
    /// An operator gave the instance up, with this reason.
    Operator(String),
}

impl<S: Saga> Deadline<S> {
    /// Creates a deadline of the instance `id`.
    pub fn new(id: impl Into<String>, started_at: Timestamp, cause: Cause) -> Self {
        Self { id: id.into(), started_at, cause, saga: PhantomData }
    }

    /// Returns the key of the instance.
    ///
    /// # Errors
    /// Returns an error if its text is not a valid key.
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

/// A deadline comes from no topic, so a handler that takes it subscribes to none.
impl<S: Saga> EventSet for Deadline<S> {
    fn types() -> Vec<EventType> {
        Vec::new()
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Saga => f.write_str("the deadline has passed"),
            Self::Step(step) => write!(f, "the deadline of {step} has passed"),
            Self::Operator(reason) => write!(f, "given up by an operator: {reason}"),
        }
    }
}
