//! HTTP: what every service shows, and what its own routes are built from.
//!
//! [`service_routes`] has health, metrics, dead letters and sagas; mount it in an axum app of your own, or let
//! [`App`](crate::runtime::App) serve it beside the routes of the service. The extractors ([`Json`], [`Query`], [`Path`],
//! [`Page`], [`CorrelationId`], [`RequestTrace`]) answer what is wrong with a request as a [`Problem`], and [`harden`] does so for the rest: the
//! unknown path, the wrong method, the body that is too large or never ends, the handler that panics. [`serve`] carries a
//! router over a listener, with limits on what a client may hold on to; an answer that goes on without end, as a stream of events
//! does, learns by [`Connection`] when it should end.
//!
//! With the feature `openapi` the routes are described, at `/openapi.json` and on a page to read, `/docs`; see `openapi`.

mod connection;
mod correlation;
mod dead_letters;
mod expected;
mod harden;
mod invalid;
mod json;
mod known;
mod objects;
#[cfg(feature = "openapi")]
pub mod openapi;
mod operators;
mod page;
mod problem;
mod query;
mod replays;
mod routes;
mod sagas;
mod serve;
mod span;

pub use connection::Connection;
pub use correlation::{CorrelationId, RequestTrace};
pub use dead_letters::dead_letter_routes;
pub use harden::{RequestLimits, harden, harden_service, harden_with};
pub use json::Json;
pub use operators::{OperatedRoutes, operators_only};
pub use page::{Listed, Page};
pub use problem::{FieldError, Problem};
pub use query::{Path, Query};
pub use replays::replay_routes;
pub(crate) use routes::served;
pub use routes::{health_routes, metrics_routes, service_routes};
pub use sagas::saga_routes;
pub use serve::{ServeLimits, serve};
