//! What the order service says.

use std::{fmt, num::NonZeroU32};

use sagas::event;
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

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

    /// How far an order with this status is: it only ever goes to a status of a higher rank.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Created => 0,
            Self::InventoryReserved | Self::InventoryInsufficient => 1,
            Self::PaymentProcessed | Self::PaymentFailed => 2,
            Self::Completed | Self::Cancelled => 3,
            Self::Shipped => 4,
        }
    }

    /// Whether the order was confirmed, shipped or not.
    pub const fn is_confirmed(self) -> bool {
        matches!(self, Self::Completed | Self::Shipped)
    }
}

/// How many units of a product are ordered: at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub NonZeroU32);

impl Quantity {
    /// The number of units.
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
    /// Its name when it was ordered.
    pub product_name: String,
    /// How many units.
    pub quantity: Quantity,
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
