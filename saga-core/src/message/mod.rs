//! What is sent and received: events as types, records as bytes, and the envelope between them.

mod envelope;
mod event;
pub mod headers;
mod record;

pub use envelope::{Context, Envelope, Outgoing};
pub use event::{DecodeFn, Event, EventKey, EventSet, EventType};
pub use record::{Header, Received, Record, TopicPartition};
