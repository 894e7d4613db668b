//! The engine: every decision of the delivery path, as plain functions and state machines.
//!
//! Nothing here does I/O, reads a clock, draws a random number or depends on tokio. Each module takes facts and the time, and returns a
//! decision, which [`crate::runtime`] executes. So the rules can be tested as tables and as sequences.
//!
//! - [`admission`]: whether a record is handled, skipped or dead-lettered.
//! - [`schedule`]: which messages run next: one at a time for each key, several keys in parallel.
//! - [`backpressure`]: which partitions are paused, and why.
//! - [`batch`]: what happens to each message of a transaction, before and after its handler.
//! - [`batch_size`]: how many messages share a transaction.
//! - [`backoff`]: when the next attempt is due.
//! - [`fallback`]: what a message is run without, after the framework's own part of its transaction has failed.
//! - [`parking`]: the index of the parked keys.
//! - [`replacement`]: whether a duplicate is a dead letter that was produced again.
//! - [`watermark`]: up to which offset a partition is done.
//! - [`replay`]: which records of a partition are read again.
//! - [`outbox`]: which rows can be sent now.
//! - [`saga`]: what a message means for a saga.
//! - [`stall`]: which partitions have records and deliver none.
//! - [`waits`]: what has failed and waits for its next attempt.
//! - [`identity`]: whether a topic was deleted and created again.
//! - [`downtime`]: how old a row is at least, although clocks can jump while the service is stopped.

pub mod admission;
pub mod backoff;
pub mod backpressure;
pub mod batch;
pub mod batch_size;
pub mod downtime;
pub mod fallback;
pub mod identity;
pub mod outbox;
pub mod parking;
pub mod replacement;
pub mod replay;
pub mod saga;
pub mod schedule;
pub mod stall;
pub mod waits;
pub mod watermark;
