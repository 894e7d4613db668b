//! The analytics service: hears every event, and keeps the numbers that tell how the shop is doing.

pub mod domain;
pub mod handlers;
mod http;

use sagas::{handler::Handler, prelude::*, store::Migration};

use crate::services::VERSION;

const MIGRATIONS: &[Migration] = &[Migration { version: 1, name: "numbers", sql: include_str!("schema.sql") }];

/// What the service reacts to.
pub fn handlers() -> [Handler; 1] {
    handlers![handlers::count]
}

/// The service on `db`.
pub fn service(db: Database) -> Service {
    Service::new("analytics", db).migrations(MIGRATIONS).handlers(handlers()).routes(http::routes).also_under(VERSION)
}
