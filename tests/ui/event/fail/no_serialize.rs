use sagas::prelude::*;
use serde::Deserialize;

#[event(topic = "orders", key = order_id)]
#[derive(Deserialize)]
struct OrderCreated {
    order_id: u64,
}

fn main() {}
