//! The events of the inventory service.

use sagas::event;
use serde::{Deserialize, Serialize};

use super::{CustomerId, Money, OrderId, PaymentMethod, ProductId, ReservationId};

/// Units of one product that are held for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The product.
    pub product_id: ProductId,
    /// The number of units.
    pub quantity: u64,
    /// The id of the reservation.
    pub reservation_id: ReservationId,
}

/// All ordered units are held. The event carries what the payment service needs to charge the customer.
#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReserved {
    /// The order.
    pub order_id: OrderId,
    /// What is held, with one entry for each product.
    pub reservations: Vec<Reservation>,
    /// The customer who placed the order.
    pub customer_id: CustomerId,
    /// The price of the order.
    pub total: Money,
    /// The payment method.
    pub payment_method: PaymentMethod,
}

/// A product with fewer units available than were ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The product.
    pub product_id: ProductId,
    /// The number of ordered units.
    pub requested: u64,
    /// The number of units that could have been held; 0 for an unknown product.
    pub available: u64,
}

/// Not all ordered units are available, and nothing is held.
#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryInsufficient {
    /// The order.
    pub order_id: OrderId,
    /// The products that are short.
    pub missing: Vec<Missing>,
    /// The same as a sentence that names the products.
    pub reason: String,
}

/// Units of one product that were given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The product.
    pub product_id: ProductId,
    /// The number of units.
    pub quantity: u64,
}

/// The units that were held for the order are available again.
#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReleased {
    /// The order.
    pub order_id: OrderId,
    /// What was given back.
    pub released: Vec<Released>,
    /// Why the units were given back.
    pub reason: String,
}
