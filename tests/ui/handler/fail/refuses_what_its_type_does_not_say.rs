#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler]
async fn reserve(On(order): On<OrderCreated>) -> Result<InventoryReserved, Failure> {
    Err(Failure::Reject(InventoryInsufficient { order_id: order.order_id }))
}

fn main() {}
