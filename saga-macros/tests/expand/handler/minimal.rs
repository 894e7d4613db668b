//! The least that a handler says.

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
}

/// Counts an order.
#[handler]
pub async fn count(On(order): On<OrderCreated>) {
    let _ = order.order_id;
}

fn main() {}
