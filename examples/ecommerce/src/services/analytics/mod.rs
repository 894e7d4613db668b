//! The analytics service: hears every event, and keeps the numbers that tell how the shop is doing.

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

/// What the service reacts to.
pub fn handlers() -> [Handler; 1] {
    handlers![handlers::count]
}

/// The service on `db`, with a stream that has these limits.
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
