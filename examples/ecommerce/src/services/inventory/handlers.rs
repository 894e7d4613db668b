//! What the inventory service reacts to.

use sagas::{event, handler, prelude::*};

use super::domain::{self, Held};
use crate::contracts::{
    InventoryInsufficient, InventoryReleased, InventoryReserved, OrderConfirmed, OrderCreated, PaymentFailed,
};

/// Whether the goods of an order could be held.
///
/// The *no* is an outcome like the *yes*, and no refusal that undoes its transaction: it writes down that it was said, so that
/// asking again, when there is more in stock, changes nothing for an order that has been given up.
#[event]
#[derive(Debug, Clone)]
pub enum Answer {
    /// They are held.
    Reserved(InventoryReserved),
    /// They are not there.
    Insufficient(InventoryInsufficient),
}

/// Holds the goods of a new order, all of them or none.
#[handler]
pub async fn reserve(On(order): On<OrderCreated>, mut tx: Tx, service: ServiceHandle) -> Result<Option<Answer>, Failure> {
    Ok(match domain::hold(&mut tx, order.order_id, &order.items, service.ids()).await? {
        Held::All(reservations) => Some(Answer::Reserved(InventoryReserved {
            order_id: order.order_id,
            reservations,
            customer_id: order.customer_id,
            total: order.total,
            payment_method: order.payment_method,
        })),
        Held::Nothing(missing) => {
            let reason = domain::shortage(&missing);
            Some(Answer::Insufficient(InventoryInsufficient { order_id: order.order_id, missing, reason }))
        }
        Held::Before => None,
    })
}

/// The order stands: what was held for it is sold.
#[handler]
pub async fn sell(On(order): On<OrderConfirmed>, mut tx: Tx) -> Result<(), Failure> {
    domain::sell(&mut tx, order.order_id).await?;
    Ok(())
}

/// The customer cannot pay: what was held for the order is for sale again.
#[handler]
pub async fn release(On(payment): On<PaymentFailed>, mut tx: Tx) -> Result<Option<InventoryReleased>, Failure> {
    let released = domain::release(&mut tx, payment.order_id).await?;
    let any = !released.is_empty();
    Ok(any.then_some(InventoryReleased { order_id: payment.order_id, released, reason: payment.reason }))
}
