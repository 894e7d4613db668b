//! The example over HTTP, in one process: every scenario, and what can go wrong.

#![allow(clippy::unwrap_used, missing_docs)]

mod bad_orders;
mod bad_requests;
mod cancel;
mod contracts;
mod deadline;
mod declined;
mod described;
mod gateway_outage;
mod happy;
mod idempotency;
mod insufficient;
mod invariants;
mod letters;
mod locked_database;
mod mistakes;
mod notification_outage;
mod other_ids;
mod oversell;
mod paging;
mod patience;
mod polling;
mod saga;
mod stream;
mod surface;
mod switches;
mod trace;
mod twice;
mod unfit_records;
