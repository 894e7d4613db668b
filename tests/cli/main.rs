//! The program `sagas` as its users run it: on the databases of running and of stopped services, and on files that are no such
//! databases.
//!
//! The databases are written through the store, as the tracker and the participants of a saga write them.

#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod check;
mod explain;
mod flow;
mod foreign;
mod graph;
mod letters;
mod migrations;
mod mistakes;
mod postgres;
mod program;
mod ps;
mod records;
mod replays;
mod untouched;
