#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler]
async fn reserve<'a>(On(_): On<OrderCreated>, State(_): State<&'static u64>) {}

fn main() {}
