#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

struct Stock;

impl Stock {
    #[handler]
    async fn reserve(&self, On(_): On<OrderCreated>) {}
}

fn main() {}
