//! The events of the notification service.

use sagas::event;
use serde::{Deserialize, Serialize};

use super::{CustomerId, OrderId};

super::words! {
    /// The subject of a notification.
    Kind {
        /// The order is confirmed.
        OrderConfirmation = "ORDER_CONFIRMATION",
        /// The customer was charged.
        PaymentConfirmation = "PAYMENT_CONFIRMATION",
        /// The order was cancelled.
        OrderCancelled = "ORDER_CANCELLED",
        /// A product of the order is not available.
        InventoryInsufficient = "INVENTORY_INSUFFICIENT",
        /// The order was shipped.
        ShippingNotification = "SHIPPING_NOTIFICATION",
        /// The order was delivered.
        DeliveryConfirmation = "DELIVERY_CONFIRMATION",
    }
}

super::words! {
    /// How a notification is sent.
    Channel {
        /// By e-mail.
        Email = "EMAIL",
        /// As a text message.
        Sms = "SMS",
    }
}

super::words! {
    /// The result of a notification.
    NotificationStatus {
        /// The provider accepted it.
        Sent = "SENT",
        /// The provider failed at every attempt.
        Failed = "FAILED",
    }
}

impl Kind {
    /// Returns how notifications of this kind are sent: those about shipping and delivery as text messages, all others by e-mail.
    pub const fn channel(self) -> Channel {
        match self {
            Self::ShippingNotification | Self::DeliveryConfirmation => Channel::Sms,
            _ => Channel::Email,
        }
    }
}

/// A notification was sent to a customer.
#[event(topic = "notifications", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationSent {
    /// The order.
    pub order_id: OrderId,
    /// The customer who was notified.
    pub customer_id: CustomerId,
    /// The subject.
    pub kind: Kind,
    /// How it was sent.
    pub channel: Channel,
    /// The text.
    pub message: String,
}

/// A notification could not be sent.
#[event(topic = "notifications", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationFailed {
    /// The order.
    pub order_id: OrderId,
    /// The customer who should have been notified.
    pub customer_id: CustomerId,
    /// The subject.
    pub kind: Kind,
    /// How it should have been sent.
    pub channel: Channel,
    /// The text.
    pub message: String,
    /// Why it could not be sent.
    pub error: String,
}
