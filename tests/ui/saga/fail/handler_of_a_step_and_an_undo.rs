#[path = "../../flow.rs"]
mod flow;

use flow::*;
use sagas::prelude::*;

#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m")]
pub enum PlaceOrder {
    #[step(on = Created, emits = Reserved, rejects = Insufficient, undo(on(Declined, Cancelled), emits = Released))]
    Reserve,
    #[step(on = Reserved, emits = Paid, rejects = Declined, undo(on = Cancelled, emits = Refunded))]
    Pay,
    #[step(pivot, on = Paid, emits = Confirmed)]
    Confirm,
    #[abort(on(Insufficient, Released, cancel, deadline), emits = Cancelled)]
    Cancel,
}

#[handler(step = PlaceOrder::Pay, undo = PlaceOrder::Pay)]
async fn pay(On(order): On<Reserved>) -> Result<Paid, Failure<Declined>> {
    Ok(Paid { id: order.id })
}

fn main() {}
