//! The handlers of the inventory service.

use sagas::{handler, prelude::*};

use super::domain;
use crate::contracts::{
    InventoryInsufficient, InventoryReleased, InventoryReserved, OrderConfirmed, OrderCreated, PaymentFailed, PlaceOrder,
};

/// Holds all goods of a new order, or none of them.
#[handler(step = PlaceOrder::ReserveInventory)]
pub async fn reserve(
    On(order): On<OrderCreated>,
    mut tx: Tx,
    service: ServiceHandle,
) -> Result<InventoryReserved, Failure<InventoryInsufficient>> {
    let OrderCreated { order_id, customer_id, items, total, payment_method } = order;
    match domain::hold(&mut tx, order_id, &items, service.ids()).await? {
        Ok(reservations) => Ok(InventoryReserved { order_id, reservations, customer_id, total, payment_method }),
        Err(missing) => {
            let reason = domain::shortage(&missing);
            Err(Failure::Reject(InventoryInsufficient { order_id, missing, reason }))
        }
    }
}

/// The order was cancelled or its payment declined: releases the units held for it.
#[handler(undo = PlaceOrder::ReserveInventory)]
pub async fn release(Undo(held): Undo<InventoryReserved>, mut tx: Tx, meta: Meta) -> Result<InventoryReleased, Failure> {
    let released = domain::release(&mut tx, held.order_id).await?;
    let refused = meta.envelope.event_type.as_deref() == Some(PaymentFailed::NAME);
    let reason = if refused { "payment failed" } else { "order cancelled" }.to_owned();
    Ok(InventoryReleased { order_id: held.order_id, released, reason })
}

/// The order is confirmed: marks the units held for it as sold.
#[handler]
pub async fn sell(On(order): On<OrderConfirmed>, mut tx: Tx) -> Result<(), Failure> {
    domain::sell(&mut tx, order.order_id).await?;
    Ok(())
}
