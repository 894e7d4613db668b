//! A saga with every part.

use sagas::prelude::*;

/// Reserve the goods, take the payment, confirm; or give everything back.
#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m", version = 2)]
pub enum PlaceOrder {
    /// Puts the goods aside.
    #[step(on = Created, emits = Reserved, rejects = Insufficient, undo(on = Cancelled, emits = Released), deadline = "1m")]
    Reserve,
    #[step(pivot, on = Reserved, emits = Confirmed)]
    Confirm,
    #[abort(on(Insufficient, cancel, deadline), emits = Cancelled)]
    Cancel,
}

#[handler(step = PlaceOrder::Reserve)]
async fn reserve(On(order): On<Created>) -> Result<Reserved, Failure<Insufficient>> {
    Ok(Reserved { id: order.id })
}

#[handler(undo = PlaceOrder::Reserve)]
async fn release(Undo(held): Undo<Reserved>) -> Released {
    Released { id: held.id }
}

mod events {
    use sagas::prelude::*;
    use serde::{Deserialize, Serialize};

    macro_rules! events {
        ($($name:ident)+) => {
            $(
                #[event(topic = "orders", key = id)]
                #[derive(Debug, Clone, Serialize, Deserialize)]
                pub struct $name {
                    pub id: u64,
                }
            )+
        };
    }

    events!(Created Reserved Insufficient Released Confirmed Cancelled);
}

use events::*;

fn main() {
    assert_eq!(PlaceOrder::definition().steps.len(), 2);
    assert_eq!(handlers![reserve, release].len(), 2);
}
