//! Shared parts of the tests: waiting for conditions, a clock, databases, metrics; and for the example a [`Shop`], which runs the
//! five services in this process, with tools to observe it from outside.
//!
//! A test opens its own shop, in its own folder and on ports of its own, sends it HTTP requests, and waits for conditions with
//! [`eventually`]. It can also read and write the topics directly.

#![allow(clippy::unwrap_used)]

mod answer;
mod events;
mod prefixed;
pub mod process;
mod records;
pub mod schema;
mod service;
mod shop;
mod stack;
pub mod traces;
mod wait;

pub use answer::Answer;
pub use events::{EventStream, ServerEvent};
pub use prefixed::Prefixed;
pub use records::{event_type, header, key, payload};
pub use service::{clock, databases, metric, sqlite};
pub use shop::{Opening, SERVICES, Shop, TOPICS};
pub use stack::on_real_servers;
pub use wait::{advance_until, eventually, until};
