//! An order: the fold of its history.
//!
//! The events of one order come from several topics, and Kafka does not order one topic relative to another. Therefore each event
//! has a rank, and an event has no effect if its rank is not higher than the order's, or if the order is decided.

use sagas::event;

use crate::contracts::{
    CustomerId, InventoryInsufficient, InventoryReleased, InventoryReserved, Money, OrderCancelled, OrderConfirmed, OrderCreated,
    OrderId, OrderShipped, OrderStatus, PaymentFailed, PaymentProcessed,
};

/// An event that can change an order.
#[event]
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The order was placed.
    Created(OrderCreated),
    /// The goods are held.
    Reserved(InventoryReserved),
    /// Not all goods are available.
    Insufficient(InventoryInsufficient),
    /// The customer was charged.
    Paid(PaymentProcessed),
    /// The payment was declined.
    PaymentFailed(PaymentFailed),
    /// The goods were released.
    Released(InventoryReleased),
    /// The order is confirmed.
    Confirmed(OrderConfirmed),
    /// The order was cancelled.
    Cancelled(OrderCancelled),
    /// The order was shipped.
    Shipped(OrderShipped),
}

impl From<OrderConfirmed> for Change {
    fn from(event: OrderConfirmed) -> Self {
        Self::Confirmed(event)
    }
}

impl From<OrderCancelled> for Change {
    fn from(event: OrderCancelled) -> Self {
        Self::Cancelled(event)
    }
}

/// The state of an order, folded from its history.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The order's id.
    pub order_id: OrderId,
    /// The customer who placed it.
    pub customer_id: CustomerId,
    /// The price of all items.
    pub total: Money,
    /// Its status.
    pub status: OrderStatus,
    /// Why it was, or is about to be, cancelled.
    pub reason: Option<String>,
    released: bool,
}

impl Order {
    /// Folds `history`, oldest event first; `None` when it does not begin with the order's creation.
    pub fn fold<'a>(history: impl IntoIterator<Item = &'a Change>) -> Option<Self> {
        let mut history = history.into_iter();
        let Some(Change::Created(created)) = history.next() else { return None };
        let mut order = Self {
            order_id: created.order_id,
            customer_id: created.customer_id.clone(),
            total: created.total,
            status: OrderStatus::Created,
            reason: None,
            released: false,
        };
        for change in history {
            order.apply(change);
        }
        Some(order)
    }

    /// Applies `change`, and returns whether it had an effect.
    pub fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Created(_) => false,
            Change::Reserved(_) => self.advance(OrderStatus::InventoryReserved),
            Change::Insufficient(event) => self.advance(OrderStatus::InventoryInsufficient) && self.because(&event.reason),
            Change::Paid(_) => self.advance(OrderStatus::PaymentProcessed),
            Change::PaymentFailed(event) => self.advance(OrderStatus::PaymentFailed) && self.because(&event.reason),
            Change::Released(event) => self.release() && self.because(&event.reason),
            Change::Confirmed(_) => self.advance(OrderStatus::Completed),
            Change::Cancelled(event) => self.advance(OrderStatus::Cancelled) && self.because(&event.reason),
            Change::Shipped(_) => self.status == OrderStatus::Completed && self.advance(OrderStatus::Shipped),
        }
    }

    /// Returns the event that confirms the order.
    pub fn confirmed(&self) -> OrderConfirmed {
        OrderConfirmed { order_id: self.order_id, customer_id: self.customer_id.clone(), total: self.total }
    }

    /// Returns the event that cancels the order. Its reason is the one from the order's history, or else `reason`.
    pub fn cancelled(&self, reason: &str) -> OrderCancelled {
        let reason = self.reason.clone().unwrap_or_else(|| reason.to_owned());
        OrderCancelled { order_id: self.order_id, customer_id: self.customer_id.clone(), reason }
    }

    /// Returns whether `change` has overtaken the event that caused it, which is still to come from another topic.
    pub fn is_overtaken_by(&self, change: &Change) -> bool {
        match change {
            Change::Paid(_) | Change::PaymentFailed(_) => self.status == OrderStatus::Created,
            Change::Released(_) => matches!(self.status, OrderStatus::Created | OrderStatus::InventoryReserved),
            _ => false,
        }
    }

    fn advance(&mut self, next: OrderStatus) -> bool {
        let allowed = match self.status {
            OrderStatus::Completed => next == OrderStatus::Shipped,
            status => !status.is_final() && next.rank() > status.rank(),
        };
        if allowed {
            self.status = next;
        }
        allowed
    }

    fn release(&mut self) -> bool {
        let effect = !self.released && !self.status.is_final() && self.status != OrderStatus::PaymentProcessed;
        self.released |= effect;
        effect
    }

    /// Keeps the first reason. Always returns true, so that it can end a condition.
    fn because(&mut self, reason: &str) -> bool {
        self.reason.get_or_insert_with(|| reason.to_owned());
        true
    }
}

#[cfg(test)]
mod tests;
