//! What a message means to a saga: at a participant's step ([`barrier`]), and to the instance as a whole ([`instance`]).

pub mod barrier;
pub mod instance;

pub use barrier::{Answer, Known, Mark};
pub use instance::{Firing, GivenUp, Instance, Outstanding, Sighting, Taken, Unsent};

#[cfg(test)]
mod model;
#[cfg(test)]
mod samples;
