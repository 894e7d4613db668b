//! Avro and Protobuf codecs for events, in the wire format of Confluent's serializers, and the schema registry that the format needs.
//!
//! A value consists of a zero byte, the id of its schema in a registry (four bytes), and the event. Any consumer of Confluent's format can
//! read it, and events of any such producer can be read here. An event names its codec and its schema:
//!
#![cfg_attr(feature = "avro", doc = "```")]
#![cfg_attr(not(feature = "avro"), doc = "```ignore")]
//! use saga_schema::{Avro, HasSchema, Registered, Schema, SchemaKind, Schemas};
//! use serde::{Deserialize, Serialize};
//!
//! /// The schemas of this program.
//! static SCHEMAS: Schemas = Schemas::new();
//!
//! pub struct Ours;
//!
//! impl Registered for Ours {
//!     fn schemas() -> &'static Schemas {
//!         &SCHEMAS
//!     }
//! }
//!
//! // #[event(topic = "orders", key = order_id, codec = Avro<Ours>)]
//! #[derive(Serialize, Deserialize)]
//! pub struct OrderCreated {
//!     pub order_id: String,
//! }
//!
//! impl HasSchema for OrderCreated {
//!     const SCHEMA: Schema = Schema::new(
//!         SchemaKind::Avro,
//!         // include_str!("order_created.avsc")
//!         r#"{"type": "record", "name": "OrderCreated", "fields": [{"name": "order_id", "type": "string"}]}"#,
//!     );
//! }
//! ```
//!
//! Before the app starts, register the schemas of the events that it publishes with [`Schemas::register`]. If a pipeline registers them,
//! look them up with [`Schemas::look_up`]. While the app runs, [`Schemas::follow`], a job of the service, fetches the schemas of other
//! producers.
//!
//! A record whose schema is not known yet is put off without a counted attempt, and the order of its key is kept. It waits as long as the
//! registry is unavailable. Records whose schemas are known are still read then.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

#[cfg(feature = "avro")]
mod avro;
mod frame;
mod http;
#[cfg(feature = "protobuf")]
mod protobuf;
mod registry;
mod schemas;

#[cfg(feature = "avro")]
pub use avro::Avro;
pub use frame::{Framed, framed, unframed};
pub use http::HttpRegistry;
#[cfg(feature = "protobuf")]
pub use protobuf::{Protobuf, RegisteredProtobuf};
pub use registry::{HasSchema, OwnedSchema, RegistryError, Schema, SchemaId, SchemaKind, SchemaRegistry};
pub use schemas::{Known, Registered, Schemas};
