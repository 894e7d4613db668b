//! What the notification service says.

use sagas::event;
use serde::{Deserialize, Serialize};

use super::{CustomerId, OrderId};

super::words! {
    /// What a notification is about.
    Kind {
        /// The order stands.
        OrderConfirmation = "ORDER_CONFIRMATION",
        /// The money was taken.
        PaymentConfirmation = "PAYMENT_CONFIRMATION",
        /// The order came to nothing.
        OrderCancelled = "ORDER_CANCELLED",
        /// Something that was ordered is not there.
        InventoryInsufficient = "INVENTORY_INSUFFICIENT",
        /// The goods are on their way.
        ShippingNotification = "SHIPPING_NOTIFICATION",
        /// The goods have arrived.
        DeliveryConfirmation = "DELIVERY_CONFIRMATION",
    }
}

super::words! {
    /// How a notification travels.
    Channel {
        /// By e-mail.
        Email = "EMAIL",
        /// As a text message.
        Sms = "SMS",
    }
}

super::words! {
    /// What became of a notification.
    NotificationStatus {
        /// The provider took it.
        Sent = "SENT",
        /// The provider failed until the attempts had ended.
        Failed = "FAILED",
    }
}

impl Kind {
    /// How notifications of this kind travel: what is urgent on the day of delivery by SMS, all else by e-mail.
    pub const fn channel(self) -> Channel {
        match self {
            Self::ShippingNotification | Self::DeliveryConfirmation => Channel::Sms,
            _ => Channel::Email,
        }
    }
}

/// A customer was told.
#[event(topic = "notifications", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationSent {
    /// The order.
    pub order_id: OrderId,
    /// Who was told.
    pub customer_id: CustomerId,
    /// What it was about.
    pub kind: Kind,
    /// How it travelled.
    pub channel: Channel,
    /// What it said.
    pub message: String,
}

/// A customer could not be told.
#[event(topic = "notifications", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationFailed {
    /// The order.
    pub order_id: OrderId,
    /// Who should have been told.
    pub customer_id: CustomerId,
    /// What it was about.
    pub kind: Kind,
    /// How it should have travelled.
    pub channel: Channel,
    /// What it should have said.
    pub message: String,
    /// Why it did not.
    pub error: String,
}
