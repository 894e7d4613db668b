//! The order service: accepts orders and decides them. An order is stored as the history of its events (event sourcing).
//! Idempotency keys are kept for a week ([`keys`]).

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

/// The handlers of the service.
pub fn handlers() -> [Handler; 4] {
    handlers![handlers::follow, handlers::confirm, handlers::cancel, handlers::expire]
}

/// Creates the service on `db`. It queries `peers` for a check of the whole system, and cancels orders that are undecided after
/// `deadline`.
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
