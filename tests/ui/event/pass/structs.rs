//! A struct is a message; omitted options have defaults.

#![deny(warnings)]

use sagas::{message::Event, prelude::*};
use serde::{Deserialize, Serialize};

/// An order was placed.
#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderCreated {
    /// Whose order.
    pub order_id: u64,
    pub(crate) customer: String,
}

#[event(topic = "orders.v2_all-Regions", key = order_id, name = "order.confirmed", version = 3,)]
#[derive(Serialize, Deserialize)]
struct OrderConfirmed {
    order_id: String,
}

fn main() {
    assert_eq!((OrderCreated::NAME, OrderCreated::TOPIC, OrderCreated::VERSION), ("OrderCreated", "orders", 1));
    assert_eq!(OrderCreated { order_id: 7, customer: "c".into() }.key(), "7");
    assert_eq!((OrderConfirmed::NAME, OrderConfirmed::VERSION), ("order.confirmed", 3));
    assert_eq!(OrderConfirmed::TOPIC, "orders.v2_all-Regions");
    assert_eq!(OrderConfirmed { order_id: "o".into() }.key(), "o");
}
