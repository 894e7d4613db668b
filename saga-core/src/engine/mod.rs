//! The engine: every decision of the delivery path, as plain functions and state machines.
//!
//! Nothing here does I/O, reads a clock, draws a random number or knows of tokio. Each module takes what happened and the
//! time, and says what follows; [`crate::runtime`] carries it out. That is what makes the rules testable as tables and
//! sequences.
//!
//! - [`admission`]: what a record is to a service: handled, skipped, dead-lettered.
//! - [`schedule`]: which messages run next, so that a key is in order and keys are side by side.
//! - [`flow`]: which partitions are paused, and why.
//! - [`batch`]: what happens to each message of a transaction, before and after its handler.
//! - [`pace`]: how many messages share a transaction.
//! - [`backoff`]: when the next attempt is due.
//! - [`parking`]: the keys whose messages wait.
//! - [`answered`]: whether a message that is known is a dead letter that was produced again.
//! - [`watermark`]: how far a partition may be committed.
//! - [`replay`]: which records of a partition are read once more.
//! - [`outbox`]: which rows may be sent now.
//! - [`saga`]: what a message means to a flow across services.
//! - [`stall`]: which partitions have records and give none.
//! - [`waits`]: what has failed and waits for its next attempt.

pub mod admission;
pub mod answered;
pub mod backoff;
pub mod batch;
pub mod care;
pub mod flow;
pub mod identity;
pub mod outbox;
pub mod pace;
pub mod parking;
pub mod passed;
pub mod replay;
pub mod saga;
pub mod schedule;
pub mod stall;
pub mod waits;
pub mod watermark;
