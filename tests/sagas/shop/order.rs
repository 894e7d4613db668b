//! The order service: begins the saga, decides it, and tracks its instances.

use sagas::prelude::*;

use super::{
    Cancelled, Confirmed, Created, Insufficient, Paid, PlaceOrder, Released, Reserved, Shop, books::Status, conduct::Point,
};

/// Not a step of the saga: the customer sees that the goods are held.
#[handler]
pub async fn note_reserved(On(held): On<Reserved>, State(shop): State<Shop>) {
    shop.books.becomes_at_least(held.id, Status::Reserved);
}

#[handler(step = PlaceOrder::ConfirmOrder, retry(max = 3, backoff = "1s..1s"))]
pub async fn confirm(On(paid): On<Paid>, _tx: Tx, State(shop): State<Shop>) -> Result<Confirmed, Failure> {
    shop.conduct.at(Point::Confirm).await?;
    shop.books.becomes(paid.id, Status::Confirmed);
    Ok(Confirmed { id: paid.id })
}

/// The events that end an order.
#[event]
#[derive(Debug, Clone)]
pub enum Refusal {
    Insufficient(Insufficient),
    Released(Released),
}

#[handler(step = PlaceOrder::CancelOrder)]
pub async fn cancel_refused(On(refusal): On<Refusal>, _tx: Tx, State(shop): State<Shop>) -> Cancelled {
    let (id, reason) = match refusal {
        Refusal::Insufficient(Insufficient { id }) => (id, "there is not enough"),
        Refusal::Released(Released { id }) => (id, "it was not paid"),
    };
    shop.books.becomes(id, Status::Cancelled);
    Cancelled { id, reason: reason.to_owned() }
}

#[handler(step = PlaceOrder::CancelOrder)]
pub async fn cancel_overdue(On(deadline): On<Deadline<PlaceOrder>>, State(shop): State<Shop>) -> Result<Cancelled, Failure> {
    let fatal = shop.conduct.is_fatal(Point::Overdue);
    shop.conduct.at(Point::Overdue).await.map_err(|fault| if fatal { Failure::dead(fault.to_string()) } else { fault.into() })?;
    let id = deadline.key()?;
    shop.books.becomes(id, Status::Cancelled);
    Ok(Cancelled { id, reason: deadline.cause.to_string() })
}

pub fn service(database: &Database, shop: &Shop) -> Service {
    tracking(database, shop, Tracker::of::<PlaceOrder>())
}

/// Returns the service with another tracker.
pub fn tracking(database: &Database, shop: &Shop, tracker: Tracker) -> Service {
    let handlers = handlers![note_reserved, confirm, cancel_refused, cancel_overdue];
    Service::new("order", database.clone()).state(shop.clone()).handlers(handlers).tracks(tracker)
}

/// Places an order as its customer.
pub async fn place(service: &ServiceHandle, shop: &Shop, id: u64, quantity: u32, amount: u32) {
    let mut work = service.begin().await.unwrap();
    work.publish(&Created { id, quantity, amount }).unwrap();
    shop.books.becomes(id, Status::Created);
    work.commit().await.unwrap();
}

/// Cancels an order as its customer.
pub async fn cancel(service: &ServiceHandle, shop: &Shop, id: u64) -> Aborting {
    let mut work = service.begin().await.unwrap();
    let aborting = work.abort::<PlaceOrder>(&id).await.unwrap();
    if aborting == Aborting::Now {
        shop.books.becomes(id, Status::Cancelled);
        work.publish(&Cancelled { id, reason: "the customer cancelled".to_owned() }).unwrap();
        work.commit().await.unwrap();
    }
    aborting
}
