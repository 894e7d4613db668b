use sagas::prelude::*;

struct Order;

#[handler]
async fn reserve(On(_): On<Order>) {}

fn main() {}
