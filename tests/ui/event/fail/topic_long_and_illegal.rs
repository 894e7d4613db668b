use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "ääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää", key = order_id)]
#[derive(Serialize, Deserialize)]
struct OrderCreated {
    order_id: u64,
    customer_id: u64,
}

fn main() {}
