#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler]
async fn reserve(On(_): On<OrderCreated>) -> &'static InventoryReserved {
    std::future::pending().await
}

fn main() {}
