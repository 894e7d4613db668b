#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(topic = "orders")]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
