//! A former name is not today's, and stands there once.

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id, also = ["OrderCreated", "OrderPlaced", "OrderPlaced", ""])]
#[derive(Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
}

fn main() {}
