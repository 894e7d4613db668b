//! What only SQLite's store can show.

#![allow(clippy::unwrap_used)]

mod basics;
#[cfg(feature = "test-util")]
mod conformance;
