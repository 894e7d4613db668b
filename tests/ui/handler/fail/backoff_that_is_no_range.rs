#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(retry(backoff = "200ms"))]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
