//! Sagas across services in a small shop: whatever the order, the faults and the timing, each order has one outcome.

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
mod joined;
mod monolith;
mod participant;
mod startup;
mod strangers;
mod traces;
mod tracker;
mod unreadable;
mod unsent;
mod versions;
