//! The checks that every implementation of a port must pass. They are public, so that other crates can run them on their own
//! implementations.

pub mod store;
pub mod transport;
