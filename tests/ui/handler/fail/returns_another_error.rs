#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler]
async fn reserve(On(_): On<OrderCreated>) -> Result<InventoryReserved, std::io::Error> {
    std::future::pending().await
}

fn main() {}
