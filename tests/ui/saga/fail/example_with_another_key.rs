//! The example's own flow, with one event that has another key, and a handler that publishes what its step does not.

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[path = "../../../../examples/ecommerce/src/contracts/place_order.rs"]
pub mod place_order;

pub type OrderId = u64;

macro_rules! events {
    ($($name:ident)+) => {
        $(
            #[event(topic = "orders", key = order_id)]
            #[derive(Debug, Clone, Serialize, Deserialize)]
            pub struct $name {
                pub order_id: OrderId,
            }
        )+
    };
}

events!(OrderCreated OrderConfirmed OrderCancelled);
events!(InventoryReserved InventoryInsufficient InventoryReleased);
events!(PaymentProcessed PaymentFailed);

#[event(topic = "payments", key = payment_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PaymentRefunded {
    pub payment_id: String,
}

#[handler(step = place_order::PlaceOrder::ConfirmOrder)]
async fn confirm(On(paid): On<PaymentProcessed>) -> OrderCancelled {
    OrderCancelled { order_id: paid.order_id }
}

fn main() {}
