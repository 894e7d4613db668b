#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

mod stock {
    use super::*;

    #[handler]
    pub(crate) async fn reserve(On(_): On<OrderCreated>) {}
    pub(crate) async fn release(On(_): On<OrderCancelled>) {}
}

fn all() -> [sagas::handler::Handler; 2] {
    handlers![stock::reserve, stock::release]
}

fn main() {}
