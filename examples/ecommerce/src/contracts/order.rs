//! What the order service says.

use std::num::NonZeroU32;

use sagas::event;
use serde::{Deserialize, Serialize};

use super::{CustomerId, Money, OrderId, PaymentMethod, ProductId};

super::words! {
    /// How far an order is.
    OrderStatus {
        /// Placed.
        Created = "CREATED",
        /// The goods are held.
        InventoryReserved = "INVENTORY_RESERVED",
        /// The goods are not there; the order is about to be cancelled.
        InventoryInsufficient = "INVENTORY_INSUFFICIENT",
        /// The money is there; the order is about to be completed.
        PaymentProcessed = "PAYMENT_PROCESSED",
        /// The money was refused; the goods are on their way back.
        PaymentFailed = "PAYMENT_FAILED",
        /// Confirmed.
        Completed = "COMPLETED",
        /// Given up.
        Cancelled = "CANCELLED",
        /// Confirmed, and on its way.
        Shipped = "SHIPPED",
    }
}

impl OrderStatus {
    /// Whether nothing but shipping can change the order any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Shipped)
    }

    /// Whether the order was confirmed, shipped or not.
    pub const fn is_confirmed(self) -> bool {
        matches!(self, Self::Completed | Self::Shipped)
    }
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderItem {
    /// The product.
    pub product_id: ProductId,
    /// Its name when it was ordered.
    pub product_name: String,
    /// How many units.
    pub quantity: NonZeroU32,
    /// The price of one.
    pub unit_price: Money,
}

/// A customer placed an order.
#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreated {
    /// The order.
    pub order_id: OrderId,
    /// Who placed it.
    pub customer_id: CustomerId,
    /// What was ordered.
    pub items: Vec<OrderItem>,
    /// What it costs.
    pub total: Money,
    /// How it is to be paid.
    pub payment_method: PaymentMethod,
}

/// Goods and money are there: the order stands.
#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: OrderId,
    /// Who placed it.
    pub customer_id: CustomerId,
    /// What it costs.
    pub total: Money,
}

/// The order came to nothing; whatever was taken for it has been given back.
#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    /// The order.
    pub order_id: OrderId,
    /// Who placed it.
    pub customer_id: CustomerId,
    /// Why.
    pub reason: String,
}

/// The goods have left the house.
#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderShipped {
    /// The order.
    pub order_id: OrderId,
    /// The carrier's tracking number.
    pub tracking: String,
}
