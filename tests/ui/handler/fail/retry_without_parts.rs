#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(retry = 5)]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
