//! For tests: the pump that runs services on a stack in memory, faults to inject, and the suites that every implementation of
//! a port has to pass.

pub mod conformance;
pub mod faulty;
pub mod pump;

pub use pump::Pump;
