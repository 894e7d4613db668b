//! Everything that a handler can take and return.

#![deny(warnings)]

#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::{
    handler::{Handler, IntoOutcome},
    prelude::*,
};

#[event]
pub enum OrderEvent {
    Created(OrderCreated),
    Cancelled(OrderCancelled),
}

type Orders = Batch<OrderEvent>;
type Answer<T, R> = Result<T, Failure<R>>;

#[handler]
async fn nothing(On(_): On<OrderEvent>) {}

#[handler]
async fn unit(_: Orders) -> () {}

#[handler]
async fn one(On(event): On<OrderCreated>) -> InventoryReserved {
    InventoryReserved { order_id: event.order_id }
}

#[handler]
async fn several(
    On(_): On<OrderCreated>,
    mut _tx: Tx,
    State(_): State<std::sync::Arc<str>>,
) -> (Option<InventoryReserved>, Vec<OrderCancelled>) {
    (None, Vec::new())
}

#[handler]
async fn any_of(On(event): On<OrderEvent>, work: Work, meta: Meta) -> Result<OrderEvent, Failure> {
    let _key = meta.idempotency_key();
    let _tx = work.begin().await?;
    Ok(event)
}

#[handler]
async fn refuses(sagas::extract::On(_): sagas::extract::On<OrderCreated>) -> Answer<InventoryReserved, InventoryInsufficient> {
    Err(Failure::Reject(InventoryInsufficient { order_id: 1 }))
}

/// An alias for a failure with its refusal.
mod of_stock {
    use super::*;

    type Failure = sagas::Failure<InventoryInsufficient>;

    #[handler]
    pub async fn refuses(On(order): On<OrderCreated>) -> Result<InventoryReserved, Failure> {
        if order.order_id == 0 {
            return Err(Failure::Reject(InventoryInsufficient { order_id: order.order_id }));
        }
        Ok(InventoryReserved { order_id: order.order_id })
    }
}

#[handler]
async fn unnamed(On(event): On<OrderCreated>) -> impl IntoOutcome {
    Some(event)
}

#[handler]
#[allow(clippy::too_many_arguments)]
async fn eight(
    On(_): On<OrderCreated>,
    _: Tx,
    _: Meta,
    State(_): State<u8>,
    State(_): State<u16>,
    State(_): State<u32>,
    State(_): State<u64>,
    State(_): State<&'static str>,
) {
}

fn main() {
    let all = handlers![nothing, unit, one, several, any_of, refuses, unnamed, eight, of_stock::refuses];
    let names = |handler: &Handler| handler.publishes().iter().map(|event| event.name).collect::<Vec<_>>();
    let published: Vec<_> = all.iter().map(names).collect();
    assert_eq!(
        published,
        [
            vec![],
            vec![],
            vec!["InventoryReserved"],
            vec!["InventoryReserved", "OrderCancelled"],
            vec!["OrderCreated", "OrderCancelled"],
            vec!["InventoryReserved"],
            vec!["OrderCreated"],
            vec![],
            vec!["InventoryReserved"],
        ]
    );
    assert_eq!(all[5].rejects()[0].name, "InventoryInsufficient");
}
