use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Serialize, Deserialize)]
struct OrderCreated {
    order_id: u64,
}

#[event(topic = "orders", key = order_id)]
struct OrderCancelled {
    order_id: u64,
}

// The code that uses the event is not reported as well.
#[handler]
async fn cancel(On(_): On<OrderCancelled>) {}

fn main() {}
