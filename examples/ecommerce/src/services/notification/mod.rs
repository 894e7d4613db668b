//! The notification service: notifies customers about their orders. It has no effect on the orders themselves.

pub mod domain;
pub mod handlers;
mod http;
pub mod providers;

use sagas::{handler::Handler, prelude::*, store::Migration};

use self::providers::Providers;
use crate::services::VERSION;

const MIGRATIONS: &[Migration] = &[Migration { version: 1, name: "notifications", sql: include_str!("schema.sql") }];

/// The handlers of the service.
pub fn handlers() -> [Handler; 2] {
    handlers![handlers::remember, handlers::notify]
}

/// Creates the service on `db`. It sends through `providers`.
pub fn service(db: Database, providers: Providers) -> Service {
    Service::new("notification", db)
        .migrations(MIGRATIONS)
        .state(providers.clone())
        .handlers(handlers())
        .routes(|service| http::routes(service, providers))
        .also_under(VERSION)
}
