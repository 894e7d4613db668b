//! The progress of an order: the fold of its events in any order.
//!
//! The events of one order come from several topics, and Kafka does not order one topic relative to another. Therefore each event
//! counts once, whenever it is delivered, and sets the status that the order has reached at least: the status never goes
//! backwards.

use sagas::message::Event;

use crate::{
    contracts::{
        InventoryInsufficient, InventoryReleased, InventoryReserved, OrderCancelled, OrderConfirmed, OrderCreated, OrderId,
        OrderShipped, OrderStatus, PaymentFailed, PaymentProcessed, PaymentRefunded,
    },
    services::analytics::handlers::Anything,
};

/// An event that changes an order. A second event of the same name changes nothing, whatever its id.
///
/// The discriminants are bits in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Created = 1,
    Reserved = 2,
    Insufficient = 4,
    Paid = 8,
    PaymentFailed = 16,
    Released = 32,
    Confirmed = 64,
    Cancelled = 128,
    Refunded = 256,
    Shipped = 512,
}

impl Change {
    /// Returns the order that `event` changes, and the change; `None` when it changes none.
    pub(crate) fn of(event: &Anything) -> Option<(OrderId, Self)> {
        Some(match event {
            Anything::OrderCreated(event) => (event.order_id, Self::Created),
            Anything::InventoryReserved(event) => (event.order_id, Self::Reserved),
            Anything::InventoryInsufficient(event) => (event.order_id, Self::Insufficient),
            Anything::PaymentProcessed(event) => (event.order_id, Self::Paid),
            Anything::PaymentFailed(event) => (event.order_id, Self::PaymentFailed),
            Anything::InventoryReleased(event) => (event.order_id, Self::Released),
            Anything::OrderConfirmed(event) => (event.order_id, Self::Confirmed),
            Anything::OrderCancelled(event) => (event.order_id, Self::Cancelled),
            Anything::PaymentRefunded(event) => (event.order_id, Self::Refunded),
            Anything::OrderShipped(event) => (event.order_id, Self::Shipped),
            Anything::NotificationSent(_) | Anything::NotificationFailed(_) => return None,
        })
    }

    /// Returns the name of the event.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Created => OrderCreated::NAME,
            Self::Reserved => InventoryReserved::NAME,
            Self::Insufficient => InventoryInsufficient::NAME,
            Self::Paid => PaymentProcessed::NAME,
            Self::PaymentFailed => PaymentFailed::NAME,
            Self::Released => InventoryReleased::NAME,
            Self::Confirmed => OrderConfirmed::NAME,
            Self::Cancelled => OrderCancelled::NAME,
            Self::Refunded => PaymentRefunded::NAME,
            Self::Shipped => OrderShipped::NAME,
        }
    }

    /// Returns the status that an order with this event has at least.
    const fn status(self) -> OrderStatus {
        match self {
            Self::Created => OrderStatus::Created,
            Self::Reserved | Self::Released => OrderStatus::InventoryReserved,
            Self::Insufficient => OrderStatus::InventoryInsufficient,
            Self::Paid | Self::Refunded => OrderStatus::PaymentProcessed,
            Self::PaymentFailed => OrderStatus::PaymentFailed,
            Self::Confirmed => OrderStatus::Completed,
            Self::Cancelled => OrderStatus::Cancelled,
            Self::Shipped => OrderStatus::Shipped,
        }
    }
}

/// The progress of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// The events that were delivered, one bit for each.
    pub(super) heard: i64,
    /// The status.
    pub(super) status: OrderStatus,
}

impl Progress {
    /// The progress of an order without events.
    pub(super) const NONE: Self = Self { heard: 0, status: OrderStatus::Created };

    /// Applies `change`, and returns whether it is new.
    pub(super) fn apply(&mut self, change: Change) -> bool {
        let new = self.heard & change as i64 == 0;
        self.heard |= change as i64;
        if change.status().rank() > self.status.rank() {
            self.status = change.status();
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Change; 10] = [
        Change::Created,
        Change::Reserved,
        Change::Insufficient,
        Change::Paid,
        Change::PaymentFailed,
        Change::Released,
        Change::Confirmed,
        Change::Cancelled,
        Change::Refunded,
        Change::Shipped,
    ];

    fn statuses(changes: &[Change]) -> Vec<&'static str> {
        let mut progress = Progress::NONE;
        changes.iter().filter_map(|change| progress.apply(*change).then_some(progress.status.as_str())).collect()
    }

    #[test]
    fn the_flows_are_shown_as_they_go() {
        use Change::{Cancelled, Confirmed, Created, Insufficient, Paid, PaymentFailed, Refunded, Released, Reserved, Shipped};
        for (changes, shown) in [
            (
                &[Created, Reserved, Paid, Confirmed, Shipped][..],
                &["CREATED", "INVENTORY_RESERVED", "PAYMENT_PROCESSED", "COMPLETED", "SHIPPED"][..],
            ),
            (&[Created, Insufficient, Cancelled], &["CREATED", "INVENTORY_INSUFFICIENT", "CANCELLED"]),
            (
                &[Created, Reserved, PaymentFailed, Released, Cancelled],
                &["CREATED", "INVENTORY_RESERVED", "PAYMENT_FAILED", "PAYMENT_FAILED", "CANCELLED"],
            ),
            (
                &[Created, Reserved, Paid, Cancelled, Refunded, Released],
                &["CREATED", "INVENTORY_RESERVED", "PAYMENT_PROCESSED", "CANCELLED", "CANCELLED", "CANCELLED"],
            ),
        ] {
            assert_eq!(statuses(changes), shown, "{changes:?}");
        }
    }

    #[test]
    fn an_overtaken_event_is_shown_and_takes_nothing_back() {
        let shown = statuses(&[Change::Created, Change::Confirmed, Change::Paid, Change::Reserved]);
        assert_eq!(shown, ["CREATED", "COMPLETED", "COMPLETED", "COMPLETED"]);
    }

    #[test]
    fn an_event_that_comes_again_is_not_shown() {
        for change in ALL {
            assert_eq!(statuses(&[change, change]), [change.status().as_str()], "{change:?}");
        }
    }

    #[test]
    fn whatever_comes_the_status_never_goes_back() {
        for first in ALL {
            for second in ALL {
                let mut progress = Progress::NONE;
                progress.apply(first);
                let before = progress.status;
                progress.apply(second);
                let kept_or_further = progress.status == before || progress.status.rank() > before.rank();
                assert!(kept_or_further, "{first:?}, {second:?}: {before} to {}", progress.status);
            }
        }
    }

    #[test]
    fn the_bits_are_those_of_the_migration() {
        let bits = Change::Created as i64 | Change::Confirmed as i64;
        assert_eq!((bits, Change::Created as i64 | Change::Cancelled as i64), (65, 129));
        assert_eq!(ALL.iter().fold(0, |bits, change| bits | *change as i64), 1023);
    }
}
