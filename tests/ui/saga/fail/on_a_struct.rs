use sagas::prelude::*;

#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m")]
pub struct PlaceOrder;

fn main() {}
