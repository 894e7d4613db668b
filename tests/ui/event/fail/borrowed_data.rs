use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Serialize, Deserialize)]
struct OrderCreated<'a> {
    order_id: u64,
    customer: &'a str,
}

fn main() {}
