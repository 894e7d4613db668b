//! The handler of the analytics service: it takes every event, in batches.

use sagas::{event, handler, prelude::*};

use super::{domain::Tally, stream::Stream};
use crate::contracts::{
    InventoryInsufficient, InventoryReleased, InventoryReserved, NotificationFailed, NotificationSent, OrderCancelled,
    OrderConfirmed, OrderCreated, OrderShipped, PaymentFailed, PaymentProcessed, PaymentRefunded,
};

/// Every event of the services.
#[event]
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each variant is the event of its name")]
pub enum Anything {
    OrderCreated(OrderCreated),
    OrderConfirmed(OrderConfirmed),
    OrderCancelled(OrderCancelled),
    OrderShipped(OrderShipped),
    InventoryReserved(InventoryReserved),
    InventoryInsufficient(InventoryInsufficient),
    InventoryReleased(InventoryReleased),
    PaymentProcessed(PaymentProcessed),
    PaymentFailed(PaymentFailed),
    PaymentRefunded(PaymentRefunded),
    NotificationSent(NotificationSent),
    NotificationFailed(NotificationFailed),
}

/// Counts a batch of events and adds it to the stream, with a few statements for the whole batch.
#[handler]
pub async fn count(
    Batch(events): Batch<Anything>,
    State(stream): State<Stream>,
    service: ServiceHandle,
    mut tx: Tx,
) -> Result<(), Failure> {
    let log = stream.lock(&mut tx, &service).await?;
    let mut tally = Tally::default();
    for (event, meta) in &events {
        tally.take(event, meta.envelope.time);
    }
    tally.write(&mut tx).await?;
    stream.write(&mut tx, log, &events).await?;
    tally.count(&mut tx).await?;
    Ok(())
}
