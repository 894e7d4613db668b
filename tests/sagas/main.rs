//! Flows across services, on a small shop: whatever the order, the faults and the moment, each order has one outcome.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod gated;
mod shop;
mod stage;

mod adverse;
mod attention;
mod barrier;
mod cancel;
mod deadline_races;
mod interleavings;
mod participant;
mod startup;
mod traces;
mod tracker;
mod unreadable;
mod unsent;
mod versions;
