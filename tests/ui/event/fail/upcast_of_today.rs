//! An upcast is from a version before today's, and there is one of each.

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id, version = 2, upcast(1 => one, 1 => one, 2 => one, 0 => one))]
#[derive(Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
}

fn one(order: OrderCreated) -> OrderCreated {
    order
}

fn main() {}
