#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler]
async fn reserve(On(_): On<OrderCreated>, State(_): State<u64>, _notify: impl Fn()) {}

fn main() {}
