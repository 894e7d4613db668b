#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler]
async fn reserve(On(_): On<Vec<OrderCreated>>) {}

fn main() {}
