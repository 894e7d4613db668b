//! The notification service: tells customers what became of their orders. It never changes what becomes of one.

pub mod domain;
pub mod handlers;
mod http;
pub mod providers;

use sagas::{handler::Handler, prelude::*, store::Migration};

use self::providers::Providers;
use crate::services::VERSION;

const MIGRATIONS: &[Migration] = &[Migration { version: 1, name: "notifications", sql: include_str!("schema.sql") }];

/// What the service reacts to.
pub fn handlers() -> [Handler; 2] {
    handlers![handlers::remember, handlers::notify]
}

/// The service on `db`, which sends through `providers`.
pub fn service(db: Database, providers: Providers) -> Service {
    Service::new("notification", db)
        .migrations(MIGRATIONS)
        .state(providers.clone())
        .handlers(handlers())
        .routes(|service| http::routes(service, providers))
        .also_under(VERSION)
}
