#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

struct Order;

#[handler]
async fn reserve(On(_): On<OrderCreated>) -> Order {
    Order
}

fn main() {}
