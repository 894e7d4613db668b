//! What a message means for a saga: for the step of a participant ([`barrier`]), and for the instance as a whole ([`instance`]).

pub mod barrier;
pub mod instance;

pub use barrier::{BarrierDecision, Mark, StepRecords};
pub use instance::{EventSeen, Firing, GivenUp, Instance, Observation, Outstanding, Unsent};

#[cfg(test)]
mod model;
#[cfg(test)]
pub(crate) mod samples;
