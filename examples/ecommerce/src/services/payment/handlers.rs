//! What the payment service reacts to.

use std::time::Duration;

use sagas::{event, handler, prelude::*};

use super::{
    domain,
    gateway::Verdict,
    terminal::{NotNow, Terminal},
};
use crate::contracts::{InventoryReserved, PaymentFailed, PaymentProcessed, PaymentStatus};

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
#[handler(timeout = "30s")]
pub async fn charge(
    On(reserved): On<InventoryReserved>,
    work: Work,
    State(terminal): State<Terminal>,
    service: ServiceHandle,
    meta: Meta,
) -> Result<Option<Charged>, Failure> {
    let status = if terminal.is_open() { PaymentStatus::Pending } else { PaymentStatus::Processing };
    let Some(payment) = domain::open(&service, &reserved, status, meta.idempotency_key()).await? else {
        return Ok(None);
    };
    let verdict = match terminal.charge(&payment.idempotency_key, payment.order_id, payment.amount).await {
        Ok(verdict) => verdict,
        Err(not_now) => {
            if let NotNow::Failed(error) = not_now {
                tracing::info!(order_id = %payment.order_id, %error, "the payment waits");
            }
            return Err(Failure::Later(ASK_AGAIN));
        }
    };

    let mut tx = work.begin().await?;
    let (order_id, payment_id, amount) = (payment.order_id, payment.payment_id, payment.amount);
    Ok(match verdict {
        Verdict::Captured => domain::capture(&mut tx, &payment).await?.then_some(Charged::Processed(PaymentProcessed {
            order_id,
            payment_id,
            amount,
            payment_method: payment.payment_method,
        })),
        Verdict::Declined(reason) => domain::decline(&mut tx, &payment, &reason)
            .await?
            .then_some(Charged::Failed(PaymentFailed { order_id, payment_id, amount, reason })),
    })
}
