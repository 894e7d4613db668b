#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

type Transaction = Tx;

#[handler]
async fn reserve(On(_): On<OrderCreated>, _tx: Transaction, _work: Work) {}

fn main() {}
