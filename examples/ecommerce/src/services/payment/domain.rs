//! Payments: one for each order, however often its events are delivered.

use sagas::{Fault, prelude::*};
use sqlx::{FromRow, Row, any::AnyRow};

use crate::{
    contracts::{InventoryReserved, Money, OrderId, PaymentId, PaymentMethod, PaymentStatus},
    services::{amount, parsed},
};

/// A payment as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPayment {
    /// The payment.
    pub payment_id: PaymentId,
    /// The order.
    pub order_id: OrderId,
    /// The amount to charge.
    pub amount: Money,
    /// The payment method.
    pub payment_method: PaymentMethod,
    /// The idempotency key that the gateway receives: the same at every attempt.
    pub idempotency_key: String,
    status: PaymentStatus,
}

/// Returns the undecided payment for `reserved`, with its status set to `status` (PENDING or PROCESSING). Creates it if the order
/// has none.
///
/// # Errors
/// When the database cannot be used, or when the payment is decided: the saga does not request a decided payment again.
pub async fn open(
    service: &ServiceHandle,
    reserved: &InventoryReserved,
    status: PaymentStatus,
    key: String,
) -> Result<OpenPayment, Fault> {
    let payment = match find(service.database(), reserved.order_id).await? {
        Some(payment) if payment.is_decided() => {
            return Err(Fault::new(format!("the payment of order {} is {} already", payment.order_id, payment.status)));
        }
        Some(payment) if payment.status == status => return Ok(payment),
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
    // A transaction of its own, so that others can see the status while the gateway works on the charge.
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
    Ok(payment)
}

/// Closes the payment of an order for which no further charge follows: an undecided payment is recorded as failed. `None` when
/// the order has no payment.
///
/// # Errors
/// When the database cannot be used.
pub async fn give_up(service: &ServiceHandle, order_id: OrderId) -> Result<Option<OpenPayment>, Fault> {
    let Some(payment) = find(service.database(), order_id).await? else { return Ok(None) };
    if !payment.is_decided() {
        let mut work = service.begin().await?;
        decline(&mut work, &payment, "the order was cancelled").await?;
        work.commit().await?;
    }
    Ok(Some(payment))
}

/// Records that the customer was charged.
///
/// # Errors
/// When the database cannot be used, or when the payment is already decided.
pub async fn capture(tx: &mut Tx, payment: &OpenPayment) -> Result<(), Fault> {
    let sql = "UPDATE payments SET status = 'COMPLETED', captured = amount
               WHERE payment_id = $1 AND status IN ('PENDING', 'PROCESSING')";
    one(sqlx::query(sql).bind(payment.payment_id.to_string()).execute(&mut *tx).await?.rows_affected(), payment.payment_id)
}

/// Records that the customer was not charged, and why.
///
/// # Errors
/// When the database cannot be used, or when the payment is already decided.
pub async fn decline(tx: &mut Tx, payment: &OpenPayment, reason: &str) -> Result<(), Fault> {
    let sql = "UPDATE payments SET status = 'FAILED', reason = $2
               WHERE payment_id = $1 AND status IN ('PENDING', 'PROCESSING')";
    let done = sqlx::query(sql).bind(payment.payment_id.to_string()).bind(reason).execute(&mut *tx).await?;
    one(done.rows_affected(), payment.payment_id)
}

/// Records that the charge was refunded.
///
/// # Errors
/// When the database cannot be used, or when the customer was not charged.
pub async fn refund(tx: &mut Tx, payment_id: PaymentId) -> Result<(), Fault> {
    let sql = "UPDATE payments SET status = 'REFUNDED', reason = 'the order was cancelled', refunded = captured
               WHERE payment_id = $1 AND status = 'COMPLETED'";
    one(sqlx::query(sql).bind(payment_id.to_string()).execute(&mut *tx).await?.rows_affected(), payment_id)
}

fn one(rows: u64, payment_id: PaymentId) -> Result<(), Fault> {
    if rows == 1 { Ok(()) } else { Err(Fault::new(format!("payment {payment_id} was decided differently in the meantime"))) }
}

impl OpenPayment {
    fn is_decided(&self) -> bool {
        !matches!(self.status, PaymentStatus::Pending | PaymentStatus::Processing)
    }
}

impl FromRow<'_, AnyRow> for OpenPayment {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            payment_id: parsed(row, "payment_id")?,
            order_id: parsed(row, "order_id")?,
            amount: amount(row, "amount")?,
            payment_method: parsed(row, "payment_method")?,
            idempotency_key: row.try_get("idempotency_key")?,
            status: parsed(row, "status")?,
        })
    }
}

async fn find(db: &Database, order_id: OrderId) -> Result<Option<OpenPayment>, Fault> {
    let row = sqlx::query("SELECT * FROM payments WHERE order_id = $1").bind(order_id.to_string()).fetch_optional(db).await?;
    Ok(row.as_ref().map(OpenPayment::from_row).transpose()?)
}
