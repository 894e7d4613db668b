//! The client against librdkafka's own mock of a cluster: what happens when brokers, coordinators and members come and go.
//!
//! The mock is no broker (it loses records in bursts and does not know transactions), but it fails on demand. A real one is in
//! `conformance` and `faults`.

mod cluster;
mod commits;
mod groups;
mod native;
mod outages;
mod publish;
