//! What the payment service reacts to.

use std::time::Duration;

use sagas::{event, handler, prelude::*};

use super::{
    domain,
    gateway::Verdict,
    terminal::{NotNow, Terminal},
};
use crate::contracts::{InventoryReserved, OrderId, PaymentFailed, PaymentProcessed, PaymentRefunded, PaymentStatus, PlaceOrder};

/// What the gateway made of a charge. The *no* is written down too, so it is an outcome and no refusal that undoes its writes.
#[event]
#[derive(Debug, Clone)]
pub enum Charged {
    /// The money was taken.
    Processed(PaymentProcessed),
    /// It was not.
    Failed(PaymentFailed),
}

/// How soon a payment that waits for the gateway asks again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Charges the customer for goods that are held.
///
/// The gateway takes up to ten seconds, so it is asked before the transaction begins. While it is out of order the payment
/// waits, for as long as that may be, and no attempt counts.
#[handler(step = PlaceOrder::ProcessPayment, timeout = "15s")]
pub async fn charge(
    On(reserved): On<InventoryReserved>,
    work: Work,
    State(terminal): State<Terminal>,
    service: ServiceHandle,
    meta: Meta,
) -> Result<Charged, Failure> {
    let status = if terminal.is_open() { PaymentStatus::Pending } else { PaymentStatus::Processing };
    let payment = domain::open(&service, &reserved, status, meta.idempotency_key()).await?;
    let charged = terminal.charge(&payment.idempotency_key, payment.order_id, payment.amount).await;
    let verdict = charged.map_err(|not_now| later(payment.order_id, not_now))?;

    let mut tx = work.begin().await?;
    let (order_id, payment_id, amount, payment_method) =
        (payment.order_id, payment.payment_id, payment.amount, payment.payment_method);
    match verdict {
        Verdict::Captured => {
            domain::capture(&mut tx, &payment).await?;
            Ok(Charged::Processed(PaymentProcessed { order_id, payment_id, amount, payment_method }))
        }
        Verdict::Declined(reason) => {
            domain::decline(&mut tx, &payment, &reason).await?;
            Ok(Charged::Failed(PaymentFailed { order_id, payment_id, amount, reason }))
        }
    }
}

/// The order came to nothing: what was taken is given back. Of a charge that nobody knows the end of, the gateway is told to give
/// back what it took, or to take nothing any more; the payment has failed from now on, whenever the gateway can be told.
#[handler(undo = PlaceOrder::ProcessPayment, timeout = "15s")]
pub async fn refund(
    Undo(processed): Undo<Option<PaymentProcessed>>,
    work: Work,
    State(terminal): State<Terminal>,
    service: ServiceHandle,
    meta: Meta,
) -> Result<Option<PaymentRefunded>, Failure> {
    let order_id: OrderId = meta.key.as_deref().unwrap_or_default().parse()?;
    let Some(payment) = domain::give_up(&service, order_id).await? else {
        // The attempt was cut off before it had written anything, and so before it called the gateway.
        return Ok(None);
    };
    terminal.void(&payment.idempotency_key, order_id, payment.amount).await.map_err(|not_now| later(order_id, not_now))?;

    let mut tx = work.begin().await?;
    let Some(PaymentProcessed { payment_id, amount, .. }) = processed else { return Ok(None) };
    domain::refund(&mut tx, payment_id).await?;
    Ok(Some(PaymentRefunded { order_id, payment_id, amount }))
}

fn later(order_id: OrderId, not_now: NotNow) -> Failure {
    if let NotNow::Failed(error) = not_now {
        tracing::info!(%order_id, %error, "the gateway is asked again later");
    }
    Failure::Later(ASK_AGAIN)
}
