//! The handlers of the payment service.

use std::time::Duration;

use sagas::{event, handler, prelude::*};

use super::{
    domain,
    gateway::Verdict,
    terminal::{NotNow, Terminal},
};
use crate::contracts::{InventoryReserved, OrderId, PaymentFailed, PaymentProcessed, PaymentRefunded, PaymentStatus, PlaceOrder};

/// The outcome of a charge. A decline must be recorded, so it is an outcome: a refusal would roll its record back.
#[event]
#[derive(Debug, Clone)]
pub enum Charged {
    /// The customer was charged.
    Processed(PaymentProcessed),
    /// The gateway declined.
    Failed(PaymentFailed),
}

/// How long a payment that waits for the gateway is put off before the next call.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Charges the customer for goods that are held.
///
/// The gateway can take up to ten seconds, so it is called before the transaction begins. While the gateway is out of order, the
/// payment is put off, which does not count as an attempt until `put_off_limit_s`.
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

/// The order was cancelled: refunds the charge. If the outcome of the charge is unknown, the gateway is asked to refund or to
/// block it. The payment is recorded as failed at once, before the gateway can be reached.
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
        // The attempt was interrupted before its first write, and therefore before the call to the gateway.
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
        tracing::info!(%order_id, %error, "the gateway is called again later");
    }
    Failure::Later(ASK_AGAIN)
}
