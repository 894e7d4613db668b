#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

type Orders = Batch<OrderCreated>;

#[handler]
async fn count(Batch(_): Orders, _meta: Meta) {}

fn main() {}
