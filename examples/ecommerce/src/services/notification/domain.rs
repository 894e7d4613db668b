//! Notifications: the messages that the service sends to a customer about an order, one for each subject.

use sagas::{Fault, event, id::IdSource, prelude::*};
use sqlx::Row;

use crate::{
    contracts::{
        Channel, CustomerId, InventoryInsufficient, Kind, NotificationFailed, NotificationId, NotificationSent,
        NotificationStatus, OrderCancelled, OrderConfirmed, OrderCreated, OrderId, OrderShipped, PaymentProcessed,
    },
    services::parsed,
};

/// An event about which a customer is notified.
#[event]
#[derive(Debug, Clone)]
pub enum Occasion {
    /// The order is confirmed.
    Confirmed(OrderConfirmed),
    /// The customer was charged.
    Paid(PaymentProcessed),
    /// The order was cancelled.
    Cancelled(OrderCancelled),
    /// A product of the order is not available.
    Insufficient(InventoryInsufficient),
    /// The order was shipped.
    Shipped(OrderShipped),
}

impl Occasion {
    /// Returns the order that the event belongs to.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Confirmed(event) => event.order_id,
            Self::Paid(event) => event.order_id,
            Self::Cancelled(event) => event.order_id,
            Self::Insufficient(event) => event.order_id,
            Self::Shipped(event) => event.order_id,
        }
    }

    /// Returns the subject of the notification.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Confirmed(_) => Kind::OrderConfirmation,
            Self::Paid(_) => Kind::PaymentConfirmation,
            Self::Cancelled(_) => Kind::OrderCancelled,
            Self::Insufficient(_) => Kind::InventoryInsufficient,
            Self::Shipped(_) => Kind::ShippingNotification,
        }
    }

    fn message(&self) -> String {
        let order_id = self.order_id();
        match self {
            Self::Confirmed(order) => format!("Your order {order_id} over {} is confirmed.", order.total),
            Self::Paid(payment) => format!("We have received {} for your order {order_id}.", payment.amount),
            Self::Cancelled(order) => format!("Your order {order_id} was cancelled: {}.", order.reason),
            Self::Insufficient(shortage) => format!("We cannot deliver your order {order_id}: {}.", shortage.reason),
            Self::Shipped(order) => format!("Your order {order_id} is on its way, tracking number {}.", order.tracking),
        }
    }
}

/// A notification that is not sent yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The order.
    pub order_id: OrderId,
    /// The customer to notify.
    pub customer_id: CustomerId,
    /// The subject.
    pub kind: Kind,
    /// How it is sent.
    pub channel: Channel,
    /// The text.
    pub message: String,
}

impl Notification {
    /// Creates the notification about `occasion` for `customer_id`.
    pub fn about(occasion: &Occasion, customer_id: CustomerId) -> Self {
        let kind = occasion.kind();
        Self { order_id: occasion.order_id(), customer_id, kind, channel: kind.channel(), message: occasion.message() }
    }

    /// Returns the event that the notification was sent.
    pub fn sent(self) -> NotificationSent {
        let Self { order_id, customer_id, kind, channel, message } = self;
        NotificationSent { order_id, customer_id, kind, channel, message }
    }

    /// Returns the event that the notification could not be sent, with the reason.
    pub fn failed(self, error: String) -> NotificationFailed {
        let Self { order_id, customer_id, kind, channel, message } = self;
        NotificationFailed { order_id, customer_id, kind, channel, message, error }
    }
}

/// Stores which customer placed an order.
///
/// # Errors
/// When the database cannot be used.
pub async fn remember_customer(tx: &mut Tx, order: &OrderCreated) -> Result<(), Fault> {
    sqlx::query("INSERT INTO customers (order_id, customer_id) VALUES ($1, $2) ON CONFLICT (order_id) DO NOTHING")
        .bind(order.order_id.to_string())
        .bind(order.customer_id.as_str())
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// Returns the customer who placed the order; `None` while it is unknown.
///
/// # Errors
/// When the database cannot be read.
pub async fn customer<'e>(
    db: impl sqlx::Executor<'e, Database = sqlx::Any>,
    occasion: &Occasion,
) -> Result<Option<CustomerId>, Fault> {
    match occasion {
        Occasion::Confirmed(order) => return Ok(Some(order.customer_id.clone())),
        Occasion::Cancelled(order) => return Ok(Some(order.customer_id.clone())),
        _ => {}
    }
    let row = sqlx::query("SELECT customer_id FROM customers WHERE order_id = $1").bind(occasion.order_id().to_string());
    let Some(row) = row.fetch_optional(db).await? else { return Ok(None) };
    Ok(Some(parsed(&row, "customer_id")?))
}

/// Returns whether the customer was notified of `occasion`.
///
/// # Errors
/// When the database cannot be read.
pub async fn is_sent(db: &Database, occasion: &Occasion) -> Result<bool, Fault> {
    let row = sqlx::query("SELECT status FROM notifications WHERE order_id = $1 AND kind = $2")
        .bind(occasion.order_id().to_string())
        .bind(occasion.kind().as_str())
        .fetch_optional(db)
        .await?;
    let status = row.map(|row| row.try_get::<String, _>("status")).transpose()?;
    Ok(status.is_some_and(|status| status == NotificationStatus::Sent.as_str()))
}

/// Records the result of a notification; returns false when it was already SENT.
///
/// # Errors
/// When the database cannot be used.
pub async fn record(tx: &mut Tx, notification: &Notification, status: NotificationStatus, ids: &IdSource) -> Result<bool, Fault> {
    let now = tx.now();
    let written = sqlx::query(
        "INSERT INTO notifications (notification_id, order_id, customer_id, kind, channel, message, status, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (order_id, kind) DO UPDATE SET status = $7, at = $8 WHERE notifications.status <> 'SENT'",
    )
    .bind(NotificationId(ids.uuid(now)).to_string())
    .bind(notification.order_id.to_string())
    .bind(notification.customer_id.as_str())
    .bind(notification.kind.as_str())
    .bind(notification.channel.as_str())
    .bind(&notification.message)
    .bind(status.as_str())
    .bind(now.as_millis())
    .execute(&mut *tx)
    .await?;
    Ok(written.rows_affected() == 1)
}
