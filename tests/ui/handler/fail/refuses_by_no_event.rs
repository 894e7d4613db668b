#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

struct Missing;

#[handler]
async fn reserve(On(_): On<OrderCreated>) -> Result<InventoryReserved, Failure<Missing>> {
    std::future::pending().await
}

fn main() {}
