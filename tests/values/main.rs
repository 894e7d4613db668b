//! Whatever values come from outside: no record, header, timestamp, row, URL or request ends a service, and what is written can be
//! read again. `scripts/fuzz` runs the same with more cases, or with other ones.

#![allow(clippy::unwrap_used, missing_docs)]

mod budget;
mod delivery;
mod foreign;
mod garbage;
mod records;
mod requests;
mod settings;
mod stored;
mod traces;
