//! The books of the shop: what was held, charged and decided, and whether it is consistent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

/// The status of an order for its customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Created,
    Reserved,
    Confirmed,
    Cancelled,
}

/// The gateway's state of an order. Repeated calls return the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    Taken(u32),
    Declined,
    Refunded(u32),
    /// The charge was voided before it was made, and can no longer be made.
    Void,
}

/// The gateway declines larger amounts.
pub const LIMIT: u32 = 1_000;

#[derive(Debug, Default)]
struct Kept {
    opening: u32,
    stock: u32,
    held: BTreeMap<u64, u32>,
    charges: BTreeMap<u64, Charge>,
    statuses: BTreeMap<u64, Vec<Status>>,
    /// Violations: what was done twice, or to something that does not exist.
    mistakes: Vec<String>,
}

/// The books. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Books(Arc<Mutex<Kept>>);

impl Books {
    pub fn new(stock: u32) -> Self {
        Self(Arc::new(Mutex::new(Kept { opening: stock, stock, ..Kept::default() })))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    /// Holds goods; returns false when there are not enough.
    pub fn hold(&self, id: u64, quantity: u32) -> bool {
        let mut kept = self.kept();
        if kept.stock < quantity {
            return false;
        }
        kept.stock -= quantity;
        if kept.held.insert(id, quantity).is_some() {
            kept.mistakes.push(format!("{id} was held twice"));
        }
        true
    }

    /// Releases goods.
    pub fn release(&self, id: u64) {
        let mut kept = self.kept();
        match kept.held.remove(&id) {
            Some(quantity) => kept.stock += quantity,
            None => kept.mistakes.push(format!("{id} was released, and nothing was held")),
        }
    }

    /// Asks the gateway to charge an order.
    pub fn charge(&self, id: u64, amount: u32) -> Charge {
        let new = if amount > LIMIT { Charge::Declined } else { Charge::Taken(amount) };
        *self.kept().charges.entry(id).or_insert(new)
    }

    /// Asks the gateway to refund an order; returns the amount, if it was charged.
    pub fn refund(&self, id: u64) -> Option<u32> {
        let mut kept = self.kept();
        let charge = kept.charges.entry(id).or_insert(Charge::Void);
        match *charge {
            Charge::Taken(amount) => {
                *charge = Charge::Refunded(amount);
                Some(amount)
            }
            Charge::Refunded(amount) => Some(amount),
            Charge::Declined | Charge::Void => None,
        }
    }

    /// Returns the gateway's state of an order.
    pub fn charged(&self, id: u64) -> Option<Charge> {
        self.kept().charges.get(&id).copied()
    }

    pub fn stock(&self) -> u32 {
        self.kept().stock
    }

    /// Records the status of an order.
    pub fn becomes(&self, id: u64, status: Status) {
        self.kept().statuses.entry(id).or_default().push(status);
    }

    /// Like [`becomes`](Self::becomes), unless the order has a later status.
    pub fn becomes_at_least(&self, id: u64, status: Status) {
        if self.status(id).is_some_and(|present| present < status) {
            self.becomes(id, status);
        }
    }

    pub fn status(&self, id: u64) -> Option<Status> {
        self.kept().statuses.get(&id)?.last().copied()
    }

    /// Returns whether the order was charged and not refunded.
    pub fn is_paid(&self, id: u64) -> bool {
        matches!(self.charged(id), Some(Charge::Taken(_)))
    }

    /// Returns whether goods are held for the order.
    pub fn is_held(&self, id: u64) -> bool {
        self.kept().held.contains_key(&id)
    }

    /// Checks that nothing was done twice, goods are neither lost nor created, and no order's status went back or changed after
    /// its end.
    pub fn check(&self) {
        let kept = self.kept();
        assert_eq!(kept.mistakes, Vec::<String>::new());
        assert_eq!(kept.stock + kept.held.values().sum::<u32>(), kept.opening, "{kept:?}");
        for (id, statuses) in &kept.statuses {
            let forward = statuses.windows(2).all(|pair| pair[0] < pair[1] && pair[0] < Status::Confirmed);
            assert!(forward, "order {id}: {statuses:?}");
        }
    }

    /// Like [`check`](Self::check), and checks that this order has ended: goods and payment are kept if and only if it was
    /// confirmed.
    pub fn check_ended(&self, id: u64) {
        self.check();
        let confirmed = match self.status(id) {
            Some(Status::Confirmed) => true,
            Some(Status::Cancelled) => false,
            other => panic!("order {id} has not ended: {other:?}"),
        };
        assert_eq!((self.is_held(id), self.is_paid(id)), (confirmed, confirmed), "order {id}: {:?}", self.kept());
    }
}
