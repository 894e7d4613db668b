//! The inventory service: owns the products and their units, and holds units for orders.

pub mod audit;
pub mod domain;
pub mod handlers;
mod http;

use sagas::{handler::Handler, prelude::*, store::Migration};

use crate::services::VERSION;

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "products and reservations", sql: include_str!("schema.sql") },
    Migration { version: 2, name: "the catalogue", sql: include_str!("catalogue.sql") },
    Migration { version: 3, name: "the barrier of the flow knows what was decided", sql: "DROP TABLE decisions;" },
];

/// The handlers of the service.
pub fn handlers() -> [Handler; 3] {
    handlers![handlers::reserve, handlers::release, handlers::sell]
}

/// Creates the service on `db`.
pub fn service(db: Database) -> Service {
    Service::new("inventory", db).migrations(MIGRATIONS).handlers(handlers()).routes(http::routes).also_under(VERSION)
}
