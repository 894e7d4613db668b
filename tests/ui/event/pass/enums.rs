//! An enum with one event in each variant is a set of events: it can be taken, and returned.

#![deny(warnings)]

use sagas::{handler::IntoPublished, message::{Encoded, EventSet}, prelude::*};
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
}

#[event(topic = "orders", key = order_id, version = 2)]
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    pub order_id: u64,
}

#[cfg(any())]
pub struct Absent;

/// Whatever happens to an order.
#[event]
#[derive(Debug, PartialEq)]
pub enum OrderEvent {
    /// It was placed.
    Created(OrderCreated),
    Confirmed {
        event: OrderConfirmed,
    },
    #[cfg(any())]
    Absent(Absent),
}

fn main() {
    let types = <OrderEvent as EventSet>::types();
    assert_eq!(types.iter().map(|t| (t.name, t.version)).collect::<Vec<_>>(), [("OrderCreated", 1), ("OrderConfirmed", 2)]);

    let read = (types[1].decode)(Encoded { value: br#"{"order_id":7}"#, version: 1, key: Some("7") }).ok().and_then(|value| value.downcast::<OrderEvent>().ok());
    assert_eq!(read.as_deref(), Some(&OrderEvent::Confirmed { event: OrderConfirmed { order_id: 7 } }));
    let refusal = (types[1].decode)(Encoded { value: br#"{"order_id":7}"#, version: 1, key: Some("8") }).expect_err("another key");
    assert_eq!(refusal.to_string(), "the record's key is `8`, and the key of the OrderConfirmed in it `7`");

    let mut published = Vec::new();
    OrderEvent::Created(OrderCreated { order_id: 8 }).encode(&mut published).expect("is JSON");
    assert_eq!((published[0].name, published[0].key.as_str()), ("OrderCreated", "8"));
}
