//! HTTP: the server of services, the routes that the framework adds to each of them, and the parts to build a service's own routes from.
//!
//! [`ServiceHttp`] and [`AppHttp`] extend services and apps. An [`App`](saga_core::runtime::App) serves the routes of a service together with [`health_routes`]. To the
//! [operators](Operators) of the service it also serves [`operator_routes`]: metrics, dead letters, sagas and replays. Your
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

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod app_operators;
mod connection;
mod correlation;
mod dead_letters;
mod extend;
mod harden;
mod health;
mod invalid;
mod json;
mod limits;
#[cfg(feature = "sqlx")]
mod list;
mod metrics;
mod objects;
#[cfg(feature = "openapi")]
pub mod openapi;
mod operators;
mod operators_only;
mod overlap;
mod own_routes;
mod page;
mod problem;
mod query;
mod replays;
mod routes;
mod sagas;
#[cfg(feature = "openapi")]
mod schema;
mod serve;
mod server;
mod span;

pub use connection::Connection;
pub use correlation::{CorrelationId, RequestContext, RequestTrace};
pub use dead_letters::dead_letter_routes;
pub use extend::{AppHttp, HandleHttp, ServiceHttp};
pub use harden::{harden, harden_service, harden_with};
pub use health::health_routes;
pub use json::Json;
pub use limits::RequestLimits;
#[cfg(feature = "sqlx")]
pub use list::{List, ListValue};
pub use metrics::metrics_routes;
pub use operators::{Operator, Operators};
pub use operators_only::{OperatedRoutes, operators_only};
pub use own_routes::Routes;
pub use page::{Listed, Page};
pub use problem::{FieldError, Problem};
pub use query::{Path, Query};
pub use replays::replay_routes;
pub use routes::operator_routes;
pub use sagas::saga_routes;
pub use serve::{ServeLimits, serve};
