//! The handlers of the order service: the events of inventory and payment decide an order.

use std::time::Duration;

use sagas::{event, handler, message::Identified, prelude::*};

use super::{domain::Change, history::OpenOrder};
use crate::contracts::{
    InventoryInsufficient, InventoryReleased, InventoryReserved, OrderCancelled, OrderConfirmed, OrderId, PaymentFailed,
    PaymentProcessed, PlaceOrder,
};

/// The events of other services that change an order and do not decide it.
#[event]
#[derive(Debug, Clone)]
pub enum News {
    /// The goods are held.
    Reserved(InventoryReserved),
    /// The payment was declined.
    PaymentFailed(PaymentFailed),
}

/// The events of other services that end an order.
#[event]
#[derive(Debug, Clone)]
pub enum Refusal {
    /// Not all goods are available.
    Insufficient(InventoryInsufficient),
    /// The goods were released.
    Released(InventoryReleased),
}

/// How long an event that overtook its cause waits for it, so that the history has the events in their logical order. The
/// resulting status is the same without this wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// Adds an event of another service to the order's history.
#[handler]
pub async fn follow(On(news): On<News>, mut tx: Tx, meta: Meta) -> Result<(), Failure> {
    let (order_id, change) = match news {
        News::Reserved(event) => (event.order_id, Change::Reserved(event)),
        News::PaymentFailed(event) => (event.order_id, Change::PaymentFailed(event)),
    };
    let open = taken(&mut tx, order_id, &change, &meta).await?;
    Ok(open.save(&mut tx).await?)
}

/// Goods and payment are complete: confirms the order.
#[handler(step = PlaceOrder::ConfirmOrder)]
pub async fn confirm(On(paid): On<PaymentProcessed>, mut tx: Tx, meta: Meta) -> Result<Identified<OrderConfirmed>, Failure> {
    let mut open = taken(&mut tx, paid.order_id, &Change::Paid(paid), &meta).await?;
    let confirmed = tx.identify(open.order.confirmed());
    open.decide(&confirmed, &meta.envelope.id, tx.now())?;
    open.save(&mut tx).await?;
    Ok(confirmed)
}

/// The goods are not available, or were released because the payment was declined: cancels the order.
#[handler(step = PlaceOrder::CancelOrder)]
pub async fn cancel(On(refusal): On<Refusal>, mut tx: Tx, meta: Meta) -> Result<Identified<OrderCancelled>, Failure> {
    let (order_id, change, reason) = match refusal {
        Refusal::Insufficient(event) => (event.order_id, Change::Insufficient(event.clone()), event.reason),
        Refusal::Released(event) => (event.order_id, Change::Released(event.clone()), event.reason),
    };
    let open = taken(&mut tx, order_id, &change, &meta).await?;
    cancelled(open, &reason, &mut tx, &meta).await
}

/// The order was not decided in time: cancels it; its completed steps are undone.
#[handler(step = PlaceOrder::CancelOrder)]
pub async fn expire(
    On(deadline): On<Deadline<PlaceOrder>>,
    mut tx: Tx,
    meta: Meta,
) -> Result<Identified<OrderCancelled>, Failure> {
    let open = opened(&mut tx, deadline.key()?).await?;
    cancelled(open, &deadline.cause.to_string(), &mut tx, &meta).await
}

async fn cancelled(mut open: OpenOrder, reason: &str, tx: &mut Tx, meta: &Meta) -> Result<Identified<OrderCancelled>, Failure> {
    let cancelled = tx.identify(open.order.cancelled(reason));
    open.decide(&cancelled, &meta.envelope.id, tx.now())?;
    open.save(tx).await?;
    Ok(cancelled)
}

/// Loads the order and adds `change` to its history, if it has an effect.
async fn taken<R>(tx: &mut Tx, order_id: OrderId, change: &Change, meta: &Meta) -> Result<OpenOrder, Failure<R>> {
    let mut open = opened(tx, order_id).await?;
    if open.order.is_overtaken_by(change) {
        meta.wait_for_cause(PATIENCE)?;
    }
    open.take(change, &meta.envelope.id, meta.envelope.causation_id.clone(), tx.now())?;
    Ok(open)
}

async fn opened<R>(tx: &mut Tx, order_id: OrderId) -> Result<OpenOrder, Failure<R>> {
    let open = OpenOrder::load(tx, order_id).await?;
    open.ok_or_else(|| Failure::dead(format!("there is no order {order_id}")))
}
