//! For tests: what a handler takes when a test calls it ([`meta`], [`tx`], [`work`]), the pump that runs services on a stack in
//! memory, faults to inject, and the suites that every implementation of
//! a port has to pass.

pub mod conformance;
pub mod faulty;
pub mod pump;
mod unit;

pub use pump::Pump;
#[cfg(feature = "sqlite")]
pub use unit::database;
pub use unit::{Open, Published, meta, tx, work};
