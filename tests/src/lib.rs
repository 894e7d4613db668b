//! What the tests of the example system share: a [`Shop`] that runs its five services in this process, and what is needed to
//! look at it from outside.
//!
//! A test opens a shop of its own, on a folder of its own and on ports that nobody else has, talks to it over HTTP, and waits
//! for conditions with [`eventually`]. It can also read and write the topics, past the services.

#![allow(clippy::unwrap_used)]

mod answer;
mod events;
mod prefixed;
pub mod process;
mod records;
pub mod schema;
mod shop;
mod stack;
pub mod traces;
mod wait;

pub use answer::Answer;
pub use events::{EventStream, ServerEvent};
pub use prefixed::Prefixed;
pub use records::{event_type, header, key, payload};
pub use shop::{Opening, SERVICES, Shop, TOPICS};
pub use stack::on_real_servers;
pub use wait::eventually;
