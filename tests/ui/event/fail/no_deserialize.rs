use sagas::prelude::*;
use serde::Serialize;

#[event(topic = "orders", key = order_id)]
#[derive(Serialize)]
struct OrderCreated {
    order_id: u64,
}

fn main() {}
