#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler]
async fn count(Batch(_): Batch<OrderCreated>, _meta: Meta) {}

fn main() {}
