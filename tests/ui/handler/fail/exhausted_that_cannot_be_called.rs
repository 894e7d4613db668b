#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(exhausted = give_up)]
async fn reserve(On(_): On<OrderCreated>) {}

async fn give_up(_order: u64) {}

fn main() {}
