#[path = "../../flow.rs"]
mod flow;

use flow::*;
use sagas::prelude::*;

#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "soon")]
pub enum PlaceOrder {
    #[step(on = Created, emits = Reserved, rejects = Insufficient, undo(on(Declined, Cancelled), emits = Released))]
    Reserve,
    #[step(on = Reserved, emits = Paid, rejects = Declined, refunds = Refunded)]
    Pay,
    #[step(pivot, on = Payd, emits = Confirmed)]
    Confirm,
    #[abort(on(Insuficient, Released, cancel, deadline), emits = Cancelled)]
    Cancel,
}

// The handlers are not reported as well.
#[handler(step = PlaceOrder::Reserve)]
async fn reserve(On(order): On<Created>) -> Result<Reserved, Failure<Insufficient>> {
    Ok(Reserved { id: order.id })
}

#[handler(undo = PlaceOrder::Reserve)]
async fn release(Undo(held): Undo<Reserved>) -> Released {
    Released { id: held.id }
}

pub fn all() -> [sagas::handler::Handler; 2] {
    handlers![reserve, release]
}

fn main() {}
