//! An async fn is a handler, and can still be called.

#![deny(warnings)]

use std::time::Duration;

use sagas::{
    handler::{AfterDeadLetter, HandlerOptions},
    prelude::*,
    retry::RetryPolicy,
};
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
}

#[event(topic = "inventory", key = order_id)]
#[derive(Serialize, Deserialize)]
pub struct InventoryReserved {
    pub order_id: u64,
}

#[event(topic = "inventory", key = order_id)]
#[derive(Serialize, Deserialize)]
pub struct InventoryInsufficient {
    pub order_id: u64,
}

/// Puts the goods aside.
#[handler]
pub async fn reserve(
    On(order): On<OrderCreated>,
    State(stock): State<u64>,
) -> Result<InventoryReserved, Failure<InventoryInsufficient>> {
    if stock == 0 {
        return Err(Failure::Reject(InventoryInsufficient { order_id: order.order_id }));
    }
    Ok(InventoryReserved { order_id: order.order_id })
}

#[handler(retry(max = 5, backoff = "200ms..30s"), timeout = "1m30s", exhausted = give_up, on_dead = "hold")]
async fn notify(On(order): On<OrderCreated>, mut _tx: Tx, _meta: Meta) -> Result<(), Failure> {
    let _ = order;
    Ok(())
}

async fn give_up(On(_): On<OrderCreated>, _tx: Tx) {}

#[handler(timeout = "5s")]
async fn count(Batch(orders): Batch<OrderCreated>) {
    let _ = orders;
}

#[handler]
async fn charge(On(_): On<OrderCreated>, _work: Work) -> Option<InventoryReserved> {
    None
}

fn main() {
    let [reserve_def, notify_def, count_def, charge_def] = handlers![self::reserve, notify, count, charge];
    assert_eq!(reserve_def.options().name, "reserve");
    assert_eq!(reserve_def.publishes()[0].name, "InventoryReserved");
    assert_eq!(reserve_def.rejects()[0].name, "InventoryInsufficient");
    assert_eq!(
        *notify_def.options(),
        HandlerOptions::new("notify", module_path!())
            .retry(RetryPolicy::DEFAULT.attempts(5).backoff(Duration::from_millis(200), Duration::from_secs(30)))
            .timeout(Duration::from_secs(90))
            .after_dead_letter(AfterDeadLetter::Hold)
    );
    assert!(notify_def.exhausted_call().is_some() && notify_def.requirements().tx);
    assert!(count_def.requirements().batch);
    assert!(charge_def.requirements().work);

    drop(reserve(On(OrderCreated { order_id: 1 }), State(3)));
}
