//! The shop of these tests: the saga, its three services, and their books.

pub mod books;
pub mod conduct;
pub mod inventory;
pub mod order;
pub mod payment;

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

use self::{books::Books, conduct::Conduct};

macro_rules! events {
    ($($topic:literal: $($name:ident { $($field:ident: $of:ty),* })+;)+) => {
        $($(
            #[event(topic = $topic, key = id)]
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub struct $name {
                pub id: u64,
                $(pub $field: $of,)*
            }
        )+)+
    };
}

events! {
    "orders": Created { quantity: u32, amount: u32 } Confirmed {} Cancelled { reason: String };
    "stock": Reserved { quantity: u32, amount: u32 } Insufficient {} Released {};
    "payments": Paid { amount: u32 } Declined {} Refunded { amount: u32 };
}

/// Reserve the goods, take the payment, confirm; or give everything back.
#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m")]
pub enum PlaceOrder {
    /// Inventory puts the goods aside.
    #[step(on = Created, emits = Reserved, rejects = Insufficient, undo(on(Declined, Cancelled), emits = Released))]
    ReserveStock,
    /// Payment charges the customer.
    #[step(on = Reserved, emits = Paid, rejects = Declined, undo(on = Cancelled, emits = Refunded))]
    TakePayment,
    /// The order service decides.
    #[step(pivot, on = Paid, emits = Confirmed)]
    ConfirmOrder,
    /// Also what a cancel and the deadline lead to.
    #[abort(on(Insufficient, Released, cancel, deadline), emits = Cancelled)]
    CancelOrder,
}

/// What the services share with the test.
#[derive(Clone)]
pub struct Shop {
    pub books: Books,
    pub conduct: Conduct,
}

impl Shop {
    /// Creates a shop with `stock` units.
    pub fn with_stock(stock: u32) -> Self {
        Self { books: Books::new(stock), conduct: Conduct::default() }
    }
}
