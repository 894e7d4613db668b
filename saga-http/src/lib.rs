//! HTTP: the routes that the framework adds to every service, and the parts to build a service's own routes from.
//!
//! [`App`](crate::runtime::App) serves the routes of a service together with [`health_routes`]. To the
//! [operators](crate::runtime::Operators) of the service it also serves [`operator_routes`]: metrics, dead letters, sagas and replays. Your
//! own axum app mounts both by hand.
//!
//! - The extractors ([`Json`], [`Query`], [`Path`], [`Page`], [`CorrelationId`], [`RequestTrace`], [`RequestContext`]) answer an invalid
//!   request with a [`Problem`].
//! - [`harden`] does the same for everything else: unknown paths, wrong methods, bodies that are too large or too slow, and handlers that
//!   panic.
//! - [`serve`] serves a router on a listener and limits what a client can hold open. A response without an end, such as a stream of events,
//!   learns from [`Connection`] when it should end.
//!
//! With the feature `openapi` the routes are described at `/openapi.json`, and `/docs` shows the description as a page; see `openapi`.

mod connection;
mod correlation;
mod dead_letters;
mod expected;
mod harden;
mod health;
mod invalid;
mod json;
mod known;
mod objects;
#[cfg(feature = "openapi")]
pub mod openapi;
mod operators;
mod overlap;
mod page;
mod problem;
mod query;
mod replays;
mod routes;
mod sagas;
mod serve;
mod span;

pub use connection::Connection;
pub use correlation::{CorrelationId, RequestContext, RequestTrace};
pub use dead_letters::dead_letter_routes;
pub use harden::{RequestLimits, harden, harden_service, harden_with};
pub use health::health_routes;
pub use json::Json;
pub(crate) use operators::listened;
pub use operators::{OperatedRoutes, operators_only};
pub use page::{Listed, Page};
pub use problem::{FieldError, Problem};
pub use query::{Path, Query};
pub use replays::replay_routes;
pub(crate) use routes::{Unserved, mounted_with_health, served, served_to_operators};
pub use routes::{metrics_routes, operator_routes};
pub use sagas::saga_routes;
pub use serve::{ServeLimits, serve};
