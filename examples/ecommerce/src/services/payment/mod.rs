//! The payment service: charges customers through a gateway that can decline, be slow, or be down.

pub mod audit;
pub mod domain;
pub mod gateway;
pub mod handlers;
mod http;
pub mod ledger;
mod series;
pub mod terminal;

use sagas::{handler::Handler, prelude::*, store::Migration};

use self::terminal::Terminal;
use crate::services::VERSION;

const MIGRATIONS: &[Migration] = &[Migration { version: 1, name: "payments", sql: include_str!("schema.sql") }];

/// The handlers of the service.
pub fn handlers() -> [Handler; 2] {
    handlers![handlers::charge, handlers::refund]
}

/// Creates the service on `db`. It calls the gateway through `terminal`.
pub fn service(db: Database, terminal: Terminal) -> Service {
    Service::new("payment", db)
        .migrations(MIGRATIONS)
        .state(terminal.clone())
        .handlers(handlers())
        .routes(|service| {
            terminal.show(service.metrics());
            http::routes(service, terminal)
        })
        .also_under(VERSION)
}
