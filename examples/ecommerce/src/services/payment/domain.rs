//! Payments: one per order, whatever is asked how often.

use sagas::{Fault, prelude::*};
use sqlx::{Row, any::AnyRow};

use crate::contracts::{InventoryReserved, Money, OrderId, PaymentId, PaymentMethod, PaymentStatus};

/// A payment that the gateway has not decided yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPayment {
    /// The payment.
    pub payment_id: PaymentId,
    /// The order.
    pub order_id: OrderId,
    /// What is to be taken.
    pub amount: Money,
    /// How.
    pub payment_method: PaymentMethod,
    /// What the gateway knows the charge by: the same at every attempt.
    pub idempotency_key: String,
    status: PaymentStatus,
}

/// The payment for `reserved` with `status` PENDING or PROCESSING, begun now, unless there is one; `None` when it is decided.
///
/// # Errors
/// When the database cannot be used.
pub async fn open(
    service: &ServiceHandle,
    reserved: &InventoryReserved,
    status: PaymentStatus,
    key: String,
) -> Result<Option<OpenPayment>, Fault> {
    let payment = match find(service.database(), reserved.order_id).await? {
        Some(payment) if payment.is_decided() => return Ok(None),
        Some(payment) if payment.status == status => return Ok(Some(payment)),
        Some(payment) => OpenPayment { status, ..payment },
        None => OpenPayment {
            payment_id: PaymentId(service.ids().uuid(service.clock().now())),
            order_id: reserved.order_id,
            amount: reserved.total,
            payment_method: reserved.payment_method,
            idempotency_key: key,
            status,
        },
    };
    // A transaction of its own: whoever looks, while the gateway takes its time, sees that it is being asked.
    let mut work = service.begin().await?;
    sqlx::query(
        "INSERT INTO payments (payment_id, order_id, amount, payment_method, status, idempotency_key, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (order_id) DO UPDATE SET status = $5 WHERE payments.status IN ('PENDING', 'PROCESSING')",
    )
    .bind(payment.payment_id.to_string())
    .bind(payment.order_id.to_string())
    .bind(payment.amount.minor_units())
    .bind(payment.payment_method.as_str())
    .bind(status.as_str())
    .bind(&payment.idempotency_key)
    .bind(work.now().as_millis())
    .execute(&mut *work)
    .await?;
    work.commit().await?;
    Ok(Some(payment))
}

/// Writes down that the money was taken; false when it was decided before.
///
/// # Errors
/// When the database cannot be used.
pub async fn capture(tx: &mut Tx, payment: &OpenPayment) -> Result<bool, Fault> {
    let done = sqlx::query(
        "UPDATE payments SET status = 'COMPLETED', captured = amount
         WHERE payment_id = $1 AND status IN ('PENDING', 'PROCESSING')",
    )
    .bind(payment.payment_id.to_string())
    .execute(&mut *tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes down that the gateway declined; false when it was decided before.
///
/// # Errors
/// When the database cannot be used.
pub async fn decline(tx: &mut Tx, payment: &OpenPayment, reason: &str) -> Result<bool, Fault> {
    let done = sqlx::query(
        "UPDATE payments SET status = 'FAILED', reason = $1
         WHERE payment_id = $2 AND status IN ('PENDING', 'PROCESSING')",
    )
    .bind(reason)
    .bind(payment.payment_id.to_string())
    .execute(&mut *tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

impl OpenPayment {
    fn is_decided(&self) -> bool {
        !matches!(self.status, PaymentStatus::Pending | PaymentStatus::Processing)
    }
}

impl TryFrom<&AnyRow> for OpenPayment {
    type Error = Fault;

    fn try_from(row: &AnyRow) -> Result<Self, Fault> {
        let text = |column: &str| row.try_get::<String, _>(column);
        Ok(Self {
            payment_id: text("payment_id")?.parse()?,
            order_id: text("order_id")?.parse()?,
            amount: Money::stored(row.try_get("amount")?)?,
            payment_method: text("payment_method")?.parse()?,
            idempotency_key: text("idempotency_key")?,
            status: text("status")?.parse()?,
        })
    }
}

async fn find(db: &Database, order_id: OrderId) -> Result<Option<OpenPayment>, Fault> {
    let row = sqlx::query("SELECT * FROM payments WHERE order_id = $1").bind(order_id.to_string()).fetch_optional(db).await?;
    row.as_ref().map(OpenPayment::try_from).transpose()
}
