//! The contract between the teams of a travel booking: its events and the saga. In practice this is a crate that each team
//! depends on.

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

macro_rules! events {
    ($($topic:literal: $($name:ident { $($field:ident),* })+;)+) => {$($(
        #[event(topic = $topic, key = trip_id)]
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct $name { pub trip_id: String $(, pub $field: i64)* }
    )+)+};
}

events! {
    "trips": TripRequested { price } TripBooked {} TripCancelled {};
    "hotels": RoomHeld { price } HotelFull {} RoomGivenBack {};
    "cards": CardCharged { price } CardDeclined {} CardRefunded { price };
}

/// Hold a room, charge the card, book; or give everything back.
#[saga(key = String, starts = TripRequested, completes = TripBooked, aborts = TripCancelled, deadline = "10m")]
pub enum BookTrip {
    #[step(on = TripRequested, emits = RoomHeld, rejects = HotelFull, undo(on = TripCancelled, emits = RoomGivenBack))]
    HoldRoom,
    #[step(on = RoomHeld, emits = CardCharged, rejects = CardDeclined, undo(on = TripCancelled, emits = CardRefunded))]
    ChargeCard,
    #[step(pivot, on = CardCharged, emits = TripBooked)]
    Book,
    #[abort(on(HotelFull, CardDeclined, cancel, deadline), emits = TripCancelled)]
    Cancel,
}
