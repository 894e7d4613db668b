#[path = "../../flow.rs"]
mod flow;

use flow::*;
use sagas::prelude::*;

#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m")]
pub enum PlaceOrder {
    #[step(on = Created, emits = Reserved, undo(on = Cancelled, emits = Released))]
    Reserve,
    #[step(pivot, on = Reserved, emits = Confirmed)]
    Confirm,
    #[abort(on = Released, emits = Cancelled)]
    Cancel,
}

fn main() {}
