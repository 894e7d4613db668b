//! An enum of events.

#![allow(unused_imports, non_shorthand_field_patterns)]

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Serialize, Deserialize)]
pub struct OrderConfirmed {
    pub order_id: u64,
}

#[event(topic = "orders", key = order_id)]
#[derive(Serialize, Deserialize)]
pub struct OrderCancelled {
    pub order_id: u64,
}

/// How an order ends.
#[event]
pub enum OrderEnded {
    /// Well.
    Confirmed(OrderConfirmed),
    #[cfg(all())]
    Cancelled { event: OrderCancelled },
}

fn main() {}
