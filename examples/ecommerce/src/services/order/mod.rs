//! The order service: takes orders, and decides what becomes of them. An order is its history of events, and nothing else.
//! Idempotency keys are remembered for a week ([`keys`]).

pub mod audit;
pub mod domain;
pub mod handlers;
pub mod history;
mod http;
pub mod keys;
pub mod placing;
mod views;

use std::time::Duration;

use sagas::{handler::Handler, prelude::*, store::Migration};

use crate::{
    check::Peers,
    contracts::{OrderShipped, PlaceOrder},
    services::VERSION,
};

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "orders and their history", sql: include_str!("schema.sql") },
    Migration { version: 2, name: "orders of a customer by status", sql: include_str!("by_customer.sql") },
];

/// What the service reacts to.
pub fn handlers() -> [Handler; 4] {
    handlers![handlers::follow, handlers::confirm, handlers::cancel, handlers::expire]
}

/// The service on `db`. `peers` are whom it asks for a check of the whole system; what is undecided when `deadline` has passed is
/// cancelled.
pub fn service(db: Database, peers: Peers, deadline: Duration) -> Service {
    Service::new("order", db)
        .migrations(MIGRATIONS)
        .tracks(Tracker::of::<PlaceOrder>().deadline(deadline))
        .handlers(handlers())
        .publishes::<OrderShipped>()
        .job(keys::forget_daily)
        .routes(|service| http::routes(service, peers))
        .also_under(VERSION)
}
