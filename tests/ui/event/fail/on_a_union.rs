use sagas::prelude::*;

#[event(topic = "orders", key = order_id)]
union OrderCreated {
    order_id: u64,
}

fn main() {}
