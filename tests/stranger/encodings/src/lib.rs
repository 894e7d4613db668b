//! An archive of orders in Avro and payments in Protobuf, both in Confluent's format with a schema registry.

use std::sync::{Arc, Mutex};

use sagas::{
    prelude::*,
    schema::{Avro, HasSchema, Protobuf, Registered, RegisteredProtobuf, Schema, SchemaKind, SchemaRegistry, Schemas},
};
use serde::{Deserialize, Serialize};

pub static SCHEMAS: Schemas = Schemas::new();

pub struct Ours;

impl Registered for Ours {
    fn schemas() -> &'static Schemas {
        &SCHEMAS
    }
}

#[event(topic = "orders", key = order_id, codec = Avro<Ours>)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: String,
    pub cents: i64,
    /// Not in earlier schemas.
    #[serde(default)]
    pub note: Option<String>,
}

impl HasSchema for OrderCreated {
    const SCHEMA: Schema = Schema::new(
        SchemaKind::Avro,
        r#"{
            "type": "record", "name": "OrderCreated", "namespace": "shop", "fields": [
                {"name": "order_id", "type": "string"},
                {"name": "cents", "type": "long"},
                {"name": "note", "type": ["null", "string"], "default": null}
            ]
        }"#,
    );
}

#[event(topic = "payments", key = order_id, codec = RegisteredProtobuf<Ours>)]
#[derive(Clone, PartialEq, prost::Message)]
pub struct Paid {
    #[prost(string, tag = "1")]
    pub order_id: String,
    #[prost(int64, tag = "2")]
    pub cents: i64,
}

impl HasSchema for Paid {
    const SCHEMA: Schema = Schema::new(
        SchemaKind::Protobuf,
        "syntax = \"proto3\";\npackage shop;\n\nmessage Paid {\n  string order_id = 1;\n  int64 cents = 2;\n}\n",
    );
}

/// Without a registry.
#[event(topic = "archive", key = order_id, codec = Protobuf)]
#[derive(Clone, PartialEq, prost::Message)]
pub struct Archived {
    #[prost(string, tag = "1")]
    pub order_id: String,
    #[prost(string, tag = "2")]
    pub what: String,
}

/// The handled events, in order.
#[derive(Clone, Default)]
pub struct Seen(pub Arc<Mutex<Vec<String>>>);

#[handler]
async fn archive_order(On(order): On<OrderCreated>, State(seen): State<Seen>) -> Archived {
    seen.0.lock().unwrap().push(format!("{} {} {:?}", order.order_id, order.cents, order.note));
    Archived { order_id: order.order_id, what: "order".to_owned() }
}

#[handler]
async fn archive_payment(On(paid): On<Paid>, State(seen): State<Seen>) -> Archived {
    seen.0.lock().unwrap().push(format!("{} {}", paid.order_id, paid.cents));
    Archived { order_id: paid.order_id, what: "payment".to_owned() }
}

/// Creates the service, which reads the schemas of other producers from `registry`.
pub fn archive(database: Database, seen: Seen, registry: Arc<dyn SchemaRegistry>) -> Service {
    Service::new("archive", database)
        .state(seen)
        .handlers(handlers![archive_order, archive_payment])
        .job(move |_| SCHEMAS.follow(registry.clone()))
}
