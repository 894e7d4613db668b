#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler(retry(max = 0, backoff = "30s..1s"), timeout = "soon", deadline = "15m", on_dead = "drop")]
fn reserve(On(_): On<OrderCreated>, _tx: &mut Tx, _work: Work, _tx2: Tx) {}

// The code that uses the handler is not reported as well.
fn all() -> [sagas::handler::Handler; 1] {
    handlers![reserve]
}

fn main() {}
