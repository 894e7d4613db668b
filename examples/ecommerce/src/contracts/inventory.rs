//! What the inventory service says.

use sagas::event;
use serde::{Deserialize, Serialize};

use super::{CustomerId, Money, OrderId, PaymentMethod, ProductId, ReservationId};

/// Units of one product, held for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The product.
    pub product_id: ProductId,
    /// How many units.
    pub quantity: u64,
    /// What they are held under.
    pub reservation_id: ReservationId,
}

/// Everything that was ordered is held. Carries what it takes to charge the customer.
#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReserved {
    /// The order.
    pub order_id: OrderId,
    /// What is held, one entry a product.
    pub reservations: Vec<Reservation>,
    /// Who placed the order.
    pub customer_id: CustomerId,
    /// What it costs.
    pub total: Money,
    /// How it is to be paid.
    pub payment_method: PaymentMethod,
}

/// A product of which there are fewer units than were ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The product.
    pub product_id: ProductId,
    /// How many units were ordered.
    pub requested: u64,
    /// How many could have been held; 0 of a product that nobody knows.
    pub available: u64,
}

/// Not everything that was ordered is there, and nothing is held.
#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryInsufficient {
    /// The order.
    pub order_id: OrderId,
    /// What is short.
    pub missing: Vec<Missing>,
    /// The same in a sentence that names the products.
    pub reason: String,
}

/// Units of one product, given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The product.
    pub product_id: ProductId,
    /// How many units.
    pub quantity: u64,
}

/// What was held for the order is for sale again.
#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReleased {
    /// The order.
    pub order_id: OrderId,
    /// What was given back.
    pub released: Vec<Released>,
    /// Why.
    pub reason: String,
}
