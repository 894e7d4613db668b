//! The delivery path, driven by the test pump: what becomes of a message, whatever its handler, its database and its log do.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

mod backpressure;
mod batches;
mod blame;
mod check;
mod client_statistics;
mod dead_letters;
mod detached;
mod duplicates;
mod failing_topic;
mod happy;
mod misbehaviour;
mod open_transaction;
mod outages;
mod outcomes;
mod quiet;
mod random;
mod restart;
mod retries;
mod stop;
mod take_back;
mod unfit;
mod unit_of_work;
