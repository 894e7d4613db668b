//! The program `sagas` as its users meet it: on the databases of services that run, that have stopped, and that are none.
//!
//! The databases are written through the store, as a tracker and the participants of a flow write them.

#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod check;
mod explain;
mod flow;
mod foreign;
mod graph;
mod letters;
mod mistakes;
mod postgres;
mod program;
mod ps;
mod records;
mod replays;
mod untouched;
