#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

struct Pool;

#[handler]
async fn reserve(On(_): On<OrderCreated>, State(_): State<Pool>) {}

fn main() {}
