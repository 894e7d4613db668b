//! What every implementation of a port must do, as checks that others can run on theirs.

pub mod store;
pub mod transport;
