#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(on_dead = "drop")]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
