//! The engine, the ports and the runtime of `sagas`.
//!
//! Users depend on the facade crate `sagas`, which re-exports what is here. The layout, from the inside out:
//!
//! - [`message`], [`id`], [`time`], [`retry`], [`failure`]: the vocabulary, plain data.
//! - [`saga`]: a flow across services, as data and as types.
//! - [`engine`]: what a delivery means, decided without I/O, clock or runtime.
//! - [`handler`] and [`extract`]: how an async fn becomes a consumer.
//! - [`transport`] and [`store`]: the ports, with their implementations below them.
//! - [`runtime`]: carries out what the engine decides.
//! - `http`: health, metrics and dead letters as axum routers.
//! - `testing`: the test pump, fault injection and the conformance suites.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(feature = "config")]
pub mod config;
pub mod engine;
pub mod extract;
pub mod failure;
pub mod handler;
#[cfg(feature = "http")]
pub mod http;
pub mod id;
pub mod message;
pub mod retry;
pub mod runtime;
pub mod saga;
pub mod settings;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod store;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod time;
pub mod transport;

#[cfg(feature = "http")]
#[doc(no_inline)]
pub use axum;
#[cfg(feature = "sql")]
#[doc(no_inline)]
pub use sqlx;

#[doc(hidden)]
pub mod __private;
