use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Serialize, Deserialize)]
struct OrderCreated {
    order_id: Option<String>,
}

fn main() {}
