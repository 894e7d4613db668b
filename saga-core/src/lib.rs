//! The engine, the ports and the runtime of `sagas`.
//!
//! Users depend on the facade crate `sagas`, which re-exports the public items of this crate. The layout, from the inside out:
//!
//! - [`message`], [`id`], [`time`], [`retry`], [`failure`]: the vocabulary, plain data.
//! - [`saga`]: a saga as data (its definition) and as types (the roles of its events).
//! - `engine`: every decision about deliveries and sagas, without I/O, clock or async runtime.
//! - [`handler`] and [`extract`]: how an async fn becomes a handler.
//! - [`transport`] and [`store`]: the ports, each with its implementations.
//! - [`runtime`]: executes what the engine decides. Its port [`Server`](runtime::Server) is for what serves clients, such as `saga-http`.
//! - `testing`: the test pump, fault injection and the conformance suites.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

#[cfg(feature = "config")]
pub mod config;
#[allow(unreachable_pub, reason = "`pub` marks the interface of the engine to the runtime")]
mod engine;
pub mod extract;
pub mod failure;
pub mod handler;
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

#[cfg(feature = "sql")]
#[doc(no_inline)]
pub use sqlx;

#[doc(hidden)]
pub mod __private;
