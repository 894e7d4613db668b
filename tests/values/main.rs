//! Arbitrary values from outside: no record, header, timestamp, row, URL or request ends a service, and everything that is
//! written can be read again. `scripts/fuzz` runs the same tests with more or other cases.

#![allow(clippy::unwrap_used, missing_docs)]

mod budget;
mod delivery;
mod durations;
mod earlier;
mod foreign;
mod garbage;
mod records;
mod requests;
mod settings;
mod stored;
mod traces;
