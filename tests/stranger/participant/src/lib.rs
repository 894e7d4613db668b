//! The team that charges cards, in its own repository. The hotels are an unknown service in another language; the trips belong to
//! another team.

pub mod contract;

use contract::{BookTrip, CardCharged, CardDeclined, CardRefunded, RoomHeld};
use sagas::prelude::*;

/// The maximum charge.
const LIMIT: i64 = 1_000;

#[handler(step = BookTrip::ChargeCard)]
pub async fn charge(On(held): On<RoomHeld>) -> Result<CardCharged, Failure<CardDeclined>> {
    match held.price {
        ..=LIMIT => Ok(CardCharged { trip_id: held.trip_id, price: held.price }),
        _ => Err(Failure::Reject(CardDeclined { trip_id: held.trip_id })),
    }
}

#[handler(undo = BookTrip::ChargeCard)]
pub async fn refund(Undo(charged): Undo<CardCharged>) -> CardRefunded {
    CardRefunded { trip_id: charged.trip_id, price: charged.price }
}

/// Creates the service, with only its own part of the saga.
pub fn cards(database: Database) -> Service {
    Service::new("cards", database).handlers(handlers![charge, refund])
}
