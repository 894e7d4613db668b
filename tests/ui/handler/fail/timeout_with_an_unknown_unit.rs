#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(timeout = "30sec")]
async fn reserve(On(_): On<OrderCreated>) {}

fn main() {}
