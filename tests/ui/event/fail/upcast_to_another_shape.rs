//! The last upcast returns the event.

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id, version = 2, upcast(1 => one))]
#[derive(Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
}

fn one(order: OrderCreated) -> u64 {
    order.order_id
}

fn main() {}
