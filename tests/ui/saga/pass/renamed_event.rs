//! A saga knows the earlier names of its events, which are not part of its shape.

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

macro_rules! events {
    ($($name:ident $(also $also:tt)?;)+) => {
        $(
            #[event(topic = "orders", key = id $(, also = $also)?)]
            #[derive(Debug, Clone, Serialize, Deserialize)]
            pub struct $name {
                pub id: u64,
            }
        )+
    };
}

events! {
    Created also ["Placed", "Ordered"];
    Confirmed;
    Cancelled;
}

#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m")]
pub enum PlaceOrder {
    #[step(pivot, on = Created, emits = Confirmed)]
    Confirm,
    #[abort(on(cancel, deadline), emits = Cancelled)]
    Cancel,
}

fn main() {
    let flow = PlaceOrder::definition();
    for name in ["Created", "Placed", "Ordered"] {
        assert_eq!(flow.event("orders", name), Some(&flow.starts), "{name}");
        assert_eq!(flow.event("elsewhere", name), None, "{name}");
    }
    assert_eq!(flow.event("orders", "Shipped"), None);

    let mut before = flow.clone();
    before.former.clear();
    assert!(flow.has_the_shape_of(&before));
}
