#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(exhausted = give_up)]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
