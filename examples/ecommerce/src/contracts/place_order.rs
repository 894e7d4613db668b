//! The saga of an order across the services.

use sagas::saga;

use super::{
    InventoryInsufficient, InventoryReleased, InventoryReserved, OrderCancelled, OrderConfirmed, OrderCreated, OrderId,
    PaymentFailed, PaymentProcessed, PaymentRefunded,
};

/// Reserve the goods, take the payment, confirm; or give everything back.
#[saga(key = OrderId, starts = OrderCreated, completes = OrderConfirmed, aborts = OrderCancelled, deadline = "15m")]
pub enum PlaceOrder {
    /// Inventory puts the goods aside.
    #[step(on = OrderCreated, emits = InventoryReserved, rejects = InventoryInsufficient,
           undo(on(PaymentFailed, OrderCancelled), emits = InventoryReleased))]
    ReserveInventory,
    /// Payment charges the customer.
    #[step(on = InventoryReserved, emits = PaymentProcessed, rejects = PaymentFailed,
           undo(on = OrderCancelled, emits = PaymentRefunded))]
    ProcessPayment,
    /// The order service's own commit decides between confirmation, cancel and deadline.
    #[step(pivot, on = PaymentProcessed, emits = OrderConfirmed)]
    ConfirmOrder,
    /// Also what a customer's cancel and the deadline lead to.
    #[abort(on(InventoryInsufficient, InventoryReleased, cancel, deadline), emits = OrderCancelled)]
    CancelOrder,
}
