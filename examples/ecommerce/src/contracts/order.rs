//! The events of the order service.

use std::{fmt, num::NonZeroU32};

use sagas::event;
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use super::{CustomerId, Money, OrderId, PaymentMethod, ProductId};

super::words! {
    /// The status of an order.
    OrderStatus {
        /// The order was placed.
        Created = "CREATED",
        /// The goods are held.
        InventoryReserved = "INVENTORY_RESERVED",
        /// Not all goods are available; the order is about to be cancelled.
        InventoryInsufficient = "INVENTORY_INSUFFICIENT",
        /// The customer was charged; the order is about to be completed.
        PaymentProcessed = "PAYMENT_PROCESSED",
        /// The payment was declined; the goods are being released.
        PaymentFailed = "PAYMENT_FAILED",
        /// The order is confirmed.
        Completed = "COMPLETED",
        /// The order was cancelled.
        Cancelled = "CANCELLED",
        /// The order is confirmed and was shipped.
        Shipped = "SHIPPED",
    }
}

impl OrderStatus {
    /// Returns whether the order is decided. After that, it can only be shipped.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Shipped)
    }

    /// Returns the rank of the status. An order only changes to a status of a higher rank.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Created => 0,
            Self::InventoryReserved | Self::InventoryInsufficient => 1,
            Self::PaymentProcessed | Self::PaymentFailed => 2,
            Self::Completed | Self::Cancelled => 3,
            Self::Shipped => 4,
        }
    }

    /// Returns whether the order was confirmed, whether or not it was shipped.
    pub const fn is_confirmed(self) -> bool {
        matches!(self, Self::Completed | Self::Shipped)
    }
}

/// The number of ordered units of a product: at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub NonZeroU32);

impl Quantity {
    /// Returns the number of units.
    pub const fn units(self) -> u32 {
        self.0.get()
    }
}

impl PartialSchema for Quantity {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(u32::MAX)).into()
    }
}

impl ToSchema for Quantity {}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 1 to {}", u32::MAX)
            }

            fn visit_u64<E: de::Error>(self, units: u64) -> Result<Quantity, E> {
                let quantity = u32::try_from(units).ok().and_then(NonZeroU32::new).map(Quantity);
                quantity.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(units), &self))
            }
        }

        deserializer.deserialize_u64(Visitor)
    }
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderItem {
    /// The product.
    pub product_id: ProductId,
    /// The name of the product when it was ordered.
    pub product_name: String,
    /// The number of units.
    pub quantity: Quantity,
    /// The price of one unit.
    pub unit_price: Money,
}

/// A customer placed an order.
#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreated {
    /// The order.
    pub order_id: OrderId,
    /// The customer who placed it.
    pub customer_id: CustomerId,
    /// The ordered items.
    pub items: Vec<OrderItem>,
    /// The price of all items.
    pub total: Money,
    /// The payment method.
    pub payment_method: PaymentMethod,
}

/// The goods are held and the customer was charged: the order is confirmed.
#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: OrderId,
    /// The customer who placed it.
    pub customer_id: CustomerId,
    /// The price of all items.
    pub total: Money,
}

/// The order was cancelled. All completed steps were or will be undone.
#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    /// The order.
    pub order_id: OrderId,
    /// The customer who placed it.
    pub customer_id: CustomerId,
    /// Why the order was cancelled.
    pub reason: String,
}

/// The order was shipped.
#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderShipped {
    /// The order.
    pub order_id: OrderId,
    /// The carrier's tracking number.
    pub tracking: String,
}
