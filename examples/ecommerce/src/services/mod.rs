//! The five services. Each has its folder: rules and SQL in `domain`, what it reacts to in `handlers`, its calls in `http`, its
//! tables in `schema.sql`; `service` puts them together.

pub mod analytics;
pub mod inventory;
pub mod notification;
pub mod order;
pub mod payment;

use axum::Router;
use sagas::{ServiceHandle, http::service_routes};
use serde::{Deserialize, Deserializer};

/// `api` under its short paths and under `/api/v1`. What `service` shows about itself is served under the short paths anyway.
pub(crate) fn versioned(api: Router, service: &ServiceHandle) -> Router {
    let all = api.clone().merge(service_routes(service));
    api.nest("/api/v1", all)
}

/// A number of rows as SQL takes it.
pub(crate) fn rows(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A value that is there: `null` is none.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
