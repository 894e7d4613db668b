#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[event]
enum OrderEvent {
    Created(OrderCreated),
}

fn publish(mut tx: Tx, event: OrderEvent) {
    let _ = tx.publish(&event);
}

fn main() {}
