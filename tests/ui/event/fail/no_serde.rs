use sagas::prelude::*;

#[event(topic = "orders", key = order_id)]
struct OrderCreated {
    order_id: u64,
}

#[handler]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
