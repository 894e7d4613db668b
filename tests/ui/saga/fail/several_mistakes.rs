#[path = "../../../flow.rs"]
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

#[handler(undo = PlaceOrder::Pay)]
async fn refund(Undo(paid): Undo<Paid>) -> Refunded {
    Refunded { id: paid.id }
}

pub fn all() -> [sagas::handler::Handler; 2] {
    handlers![reserve, refund]
}

fn main() {}
