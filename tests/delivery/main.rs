//! The delivery path, driven by the test pump: what becomes of a message, whatever its handler, its database and its log do.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

mod after_commit;
mod backpressure;
mod batches;
mod blame;
mod broken_traces;
mod check;
mod client_statistics;
mod clocks;
mod dead_letters;
mod detached;
mod duplicates;
mod failed_start;
mod failing_topic;
mod fencing;
mod gaps;
mod happy;
mod instances;
mod kafka_log;
mod log_conditions;
mod log_lines;
mod markers;
mod memory;
mod misbehaviour;
mod moving;
mod open_transaction;
mod outages;
mod outcomes;
mod owned_series;
mod owners;
mod panics;
mod panics_of_flows;
mod parked;
mod progress;
mod pumps;
mod putting_off;
mod quiet;
mod random;
mod readers;
mod recreated;
mod refused;
mod repartitioned;
mod replay;
mod replayed;
mod restart;
mod retries;
mod statement;
mod stop;
mod suspicion;
mod take_back;
mod timeouts;
mod unfit;
mod unit_of_work;
