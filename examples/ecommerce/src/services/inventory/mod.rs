//! The inventory service: owns the products and their units, and holds units for orders.

pub mod audit;
pub mod domain;
pub mod handlers;
mod http;

use sagas::{prelude::*, store::Migration};

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "products and reservations", sql: include_str!("schema.sql") },
    Migration { version: 2, name: "the catalogue", sql: include_str!("catalogue.sql") },
];

/// The service on `db`.
pub fn service(db: Database) -> Service {
    Service::new("inventory", db)
        .migrations(MIGRATIONS)
        .handlers(handlers![handlers::reserve, handlers::sell, handlers::release])
        .routes(http::routes)
}
