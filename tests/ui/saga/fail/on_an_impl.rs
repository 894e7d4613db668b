use sagas::prelude::*;

pub struct PlaceOrder;

#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m")]
impl PlaceOrder {}

fn main() {}
