#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(retry(attempts = 5))]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
