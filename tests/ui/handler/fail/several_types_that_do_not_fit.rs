#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

struct Order;

#[handler]
async fn reserve(On(_): On<OrderCreated>, _stock: u64, _price: f64) -> Order {
    Order
}

fn main() {}
