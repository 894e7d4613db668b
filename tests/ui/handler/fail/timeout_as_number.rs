#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(timeout = 30)]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
