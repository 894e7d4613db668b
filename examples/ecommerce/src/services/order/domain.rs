//! What an order is: the fold of its history.
//!
//! The events of one order come from several topics, and nothing orders one topic against another. So each event says how far
//! it brings an order, and one that would bring it back, or that comes after the end, has no effect.

use sagas::event;

use crate::contracts::{
    CustomerId, InventoryInsufficient, InventoryReleased, InventoryReserved, Money, OrderCancelled, OrderConfirmed, OrderCreated,
    OrderId, OrderShipped, OrderStatus, PaymentFailed, PaymentProcessed,
};

/// An event that can change an order.
#[event]
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It begins.
    Created(OrderCreated),
    /// The goods are held.
    Reserved(InventoryReserved),
    /// The goods are not there.
    Insufficient(InventoryInsufficient),
    /// The money is there.
    Paid(PaymentProcessed),
    /// The money was refused.
    PaymentFailed(PaymentFailed),
    /// The goods are for sale again.
    Released(InventoryReleased),
    /// It stands.
    Confirmed(OrderConfirmed),
    /// It came to nothing.
    Cancelled(OrderCancelled),
    /// It is on its way.
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

/// An order, as its history makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Its identity.
    pub order_id: OrderId,
    /// Who placed it.
    pub customer_id: CustomerId,
    /// What it costs.
    pub total: Money,
    /// How far it is.
    pub status: OrderStatus,
    /// Why it is, or is about to be, cancelled.
    pub reason: Option<String>,
    released: bool,
}

impl Order {
    /// The order that `history` makes, oldest event first; `None` when it does not begin with the order's creation.
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

    /// Takes `change` in, and says whether it had an effect.
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

    /// That the order stands.
    pub fn confirmed(&self) -> OrderConfirmed {
        OrderConfirmed { order_id: self.order_id, customer_id: self.customer_id.clone(), total: self.total }
    }

    /// That the order comes to nothing: for `reason`, unless its history says why.
    pub fn cancelled(&self, reason: &str) -> OrderCancelled {
        let reason = self.reason.clone().unwrap_or_else(|| reason.to_owned());
        OrderCancelled { order_id: self.order_id, customer_id: self.customer_id.clone(), reason }
    }

    /// Whether `change` has overtaken the event that led to it, which is still on its way on another topic.
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

    /// The first reason is the one that counts. Always true, to end a condition with.
    fn because(&mut self, reason: &str) -> bool {
        self.reason.get_or_insert_with(|| reason.to_owned());
        true
    }
}

#[cfg(test)]
mod tests;
