use sagas::prelude::*;

#[event(topic = "orders", key = order_id)]
fn order_created() {}

fn main() {}
