#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(retry(max = 0))]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
