//! The analytics service: consumes every event, and keeps the key figures of the shop.

pub mod domain;
pub mod handlers;
mod http;
pub mod stream;

use sagas::{handler::Handler, prelude::*, store::Migration};

use self::stream::{Stream, StreamLimits};
use crate::services::VERSION;

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "numbers", sql: include_str!("schema.sql") },
    Migration { version: 2, name: "changes of orders", sql: include_str!("changes.sql") },
];

/// The handlers of the service.
pub fn handlers() -> [Handler; 1] {
    handlers![handlers::count]
}

/// Creates the service on `db`, with these limits of its stream.
pub fn service(db: Database, limits: StreamLimits) -> Service {
    let stream = Stream::new(limits);
    let hub = stream.clone();
    Service::new("analytics", db)
        .migrations(MIGRATIONS)
        .state(stream.clone())
        .handlers(handlers())
        .job(move |service| hub.clone().run(service))
        .routes(|service| http::routes(service, stream))
        .also_under(VERSION)
}
