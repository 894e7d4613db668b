#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::prelude::*;

#[handler]
async fn reserve(
    On(_): On<OrderCreated>,
    _tx: Tx,
    _meta: Meta,
    State(_): State<u8>,
    State(_): State<u16>,
    State(_): State<u32>,
    State(_): State<u64>,
    State(_): State<i8>,
    State(_): State<i16>,
) {
}

fn main() {}
