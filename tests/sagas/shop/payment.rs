//! The payment service: calls a gateway outside a transaction.

use sagas::prelude::*;

use super::{Cancelled, Declined, Paid, PlaceOrder, Refunded, Reserved, Shop, books::Charge, conduct::Point};

/// The outcome of a charge.
#[event]
#[derive(Debug, Clone)]
pub enum Charged {
    Paid(Paid),
    Declined(Declined),
}

#[handler(step = PlaceOrder::TakePayment, retry(max = 3, backoff = "1s..1s"), timeout = "1h")]
pub async fn pay(On(held): On<Reserved>, work: Work, State(shop): State<Shop>) -> Result<Charged, Failure> {
    let Reserved { id, amount, .. } = held;
    shop.conduct.at(Point::Pay).await?;
    let charge = shop.books.charge(id, amount);
    shop.conduct.at(Point::Answer).await?;
    let _tx = work.begin().await?;
    Ok(match charge {
        Charge::Taken(amount) => Charged::Paid(Paid { id, amount }),
        _ => Charged::Declined(Declined { id }),
    })
}

/// Refunds the charge. Where its outcome is unknown, the gateway knows it.
#[handler(undo = PlaceOrder::TakePayment, retry(max = 3, backoff = "1s..1s"))]
pub async fn refund(Undo(paid): Undo<Option<Paid>>, meta: Meta, State(shop): State<Shop>) -> Result<Option<Refunded>, Failure> {
    shop.conduct.at(Point::Refund).await?;
    let key = meta.key.as_deref().unwrap_or_default();
    let id = paid.map_or_else(|| key.parse(), |paid| Ok(paid.id))?;
    Ok(shop.books.refund(id).map(|amount| Refunded { id, amount }))
}

/// The events that it takes from its topics.
pub const TAKES: [&str; 2] = [Reserved::NAME, Cancelled::NAME];

pub fn service(database: &Database, shop: &Shop) -> Service {
    Service::new("payment", database.clone()).state(shop.clone()).handlers(handlers![pay, refund])
}
