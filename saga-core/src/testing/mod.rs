//! Utilities for tests.
//!
//! - [`meta`], [`tx`], [`work`] and [`record`] create the arguments of a handler that a test calls directly.
//! - [`pump`] runs services on a log in memory.
//! - [`faulty`] injects faults into a transport or a store.
//! - [`conformance`] has the suites that every implementation of a port must pass.

pub mod conformance;
pub mod faulty;
pub mod pump;
mod unit;

pub use pump::Pump;
#[cfg(feature = "sqlite")]
pub use unit::database;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use unit::execute;
pub use unit::{Open, Published, meta, migrate, record, tx, work};
