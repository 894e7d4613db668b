//! An upcast says from which version.

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id, version = 2, upcast(one))]
#[derive(Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
}

fn one(order: OrderCreated) -> OrderCreated {
    order
}

fn main() {}
