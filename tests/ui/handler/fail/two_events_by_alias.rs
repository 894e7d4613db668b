#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

type Created = On<OrderCreated>;

#[handler]
async fn reserve(On(_): Created, On(_): On<OrderCancelled>) {}

fn main() {}
