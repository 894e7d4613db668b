#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

async fn reserve(On(_): On<OrderCreated>) {}

fn all() -> [sagas::handler::Handler; 1] {
    handlers![reserve]
}

fn main() {}
