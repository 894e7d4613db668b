#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(time_out = "10s")]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
