#![deny(dead_code)]

#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
