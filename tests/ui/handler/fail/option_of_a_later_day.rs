#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(step = "reserve")]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
