//! The inventory service: holds and releases goods.

use sagas::prelude::*;

use super::{Cancelled, Created, Declined, Insufficient, PlaceOrder, Released, Reserved, Shop, conduct::Point};

#[handler(step = PlaceOrder::ReserveStock, retry(max = 3, backoff = "1s..1s"), timeout = "1h")]
pub async fn reserve(On(order): On<Created>, _tx: Tx, State(shop): State<Shop>) -> Result<Reserved, Failure<Insufficient>> {
    shop.conduct.at(Point::Reserve).await?;
    let Created { id, quantity, amount } = order;
    match shop.books.hold(id, quantity) {
        true => Ok(Reserved { id, quantity, amount }),
        false => Err(Failure::Reject(Insufficient { id })),
    }
}

#[handler(undo = PlaceOrder::ReserveStock, retry(max = 3, backoff = "1s..1s"))]
pub async fn release(Undo(held): Undo<Reserved>, _tx: Tx, State(shop): State<Shop>) -> Result<Released, Failure> {
    shop.conduct.at(Point::Release).await?;
    shop.books.release(held.id);
    Ok(Released { id: held.id })
}

/// The events that it takes from its topics.
pub const TAKES: [&str; 3] = [Created::NAME, Declined::NAME, Cancelled::NAME];

pub fn service(database: &Database, shop: &Shop) -> Service {
    Service::new("inventory", database.clone()).state(shop.clone()).handlers(handlers![reserve, release])
}
