#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler]
async extern "C" fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
