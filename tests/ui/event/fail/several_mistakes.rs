use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "new orders", key = oder_id, version = 0, color = "red", name = "")]
#[derive(Serialize, Deserialize)]
struct OrderCreated {
    order_id: u64,
}

// The code that uses the event is not reported as well.
#[handler]
async fn reserve(On(order): On<OrderCreated>) -> OrderCreated {
    order
}

fn all() -> [sagas::handler::Handler; 1] {
    handlers![reserve]
}

fn main() {}
