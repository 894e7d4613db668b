#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler]
fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
