//! Events as types, records as bytes, and the envelope between them.
//!
//! An event is published as a [`Record`] with its metadata in the headers. It is received as a [`Received`], and its headers are parsed
//! into an [`Envelope`]:
//!
//! ```
//! # use saga_core::{id::{IdSource, MessageId}, time::Timestamp};
//! use saga_core::message::{Context, Envelope, Event, Json, Outgoing, Received, TraceContext};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct OrderCreated {
//!     order_id: u64,
//! }
//!
//! // `#[event(topic = "orders", key = order_id)]` generates this.
//! impl Event for OrderCreated {
//!     type Key = u64;
//!     type Codec = Json;
//!     const NAME: &'static str = "OrderCreated";
//!     const TOPIC: &'static str = "orders";
//!     const VERSION: u32 = 1;
//!
//!     fn key(&self) -> String {
//!         self.order_id.to_string()
//!     }
//! }
//!
//! # fn main() -> Result<(), saga_core::failure::Fault> {
//! let context = Context::root("checkout-7", TraceContext::root(&IdSource::seeded(1)));
//! let event = Outgoing::of(&OrderCreated { order_id: 42 })?;
//! let record = event.into_record(&MessageId::new("m-1"), "order", Timestamp::from_millis(0), &context);
//! assert_eq!((record.topic.as_str(), record.key.as_deref()), ("orders", Some(&b"42"[..])));
//! assert_eq!(record.value.as_deref(), Some(&br#"{"order_id":42}"#[..]));
//!
//! let now = Timestamp::from_millis(1_000);
//! let envelope = Envelope::of(&Received { record: record.into(), partition: 0, offset: 17 }, now)?;
//! assert_eq!((envelope.id.as_str(), envelope.source.as_str()), ("m-1", "order"));
//! assert_eq!((envelope.event_type.as_deref(), envelope.correlation_id.as_str()), (Some("OrderCreated"), "checkout-7"));
//! # Ok(()) }
//! ```

mod codec;
mod envelope;
pub(crate) mod event;
pub mod headers;
mod identified;
pub(crate) mod listener;
mod raw;
mod record;
mod shard;
mod trace;
pub(crate) mod upcast;

pub use codec::{Decode, Encode, Json, NotYet};
pub use envelope::{Context, Envelope, MAX_AHEAD, Outgoing};
pub use event::{DecodeFn, Encoded, Event, EventKey, EventSet, EventType};
pub use headers::{BadHeader, Wrong};
pub use identified::Identified;
pub use raw::Raw;
pub(crate) use record::header;
pub use record::{Header, Received, Record, TopicPartition};
pub use shard::{Shard, Shards};
pub use trace::TraceContext;
pub use upcast::Upcasted;
