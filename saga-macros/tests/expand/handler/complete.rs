//! All that a handler can say.

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
}

#[handler(
    retry(max = 5, backoff = "200ms..30s"),
    timeout = "1m30s",
    exhausted = give_up,
    on_dead = "hold",
    crate = ::sagas
)]
#[cfg(all())]
pub(crate) async fn r#move(On(order): On<OrderCreated>, mut tx: Tx) -> Result<OrderCreated, Failure> {
    let _ = &mut tx;
    Ok(order)
}

async fn give_up(On(_): On<OrderCreated>) {}

fn main() {}
