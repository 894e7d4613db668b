//! Event-driven services: one transaction per delivery, an outbox, retries, dead letters, flows across services that are checked, and
//! a test kit, from three macros.
//!
//! A team that builds services on a log of events writes the same things every time: a consumer loop, deduplication, an outbox,
//! retries, a dead letter topic, compensation for the flow that spans services. This crate is what it adds instead.
//!
//! - [`#[event]`](macro@event) makes a struct a message: its topic, its key, its name and version on the wire.
//! - [`#[handler]`](macro@handler) makes an async fn a consumer of one, with extractors for what it needs.
//! - [`#[saga]`](macro@saga) makes an enum a flow across services: its steps, what undoes them, and its deadline. There is no
//!   coordinator; the compiler checks the flow and the handlers that claim its steps, and one service tracks its instances.
//! - One delivery is one database transaction: the inbox claim, the handler's own writes and the events it returns commit
//!   together or not at all. The effect of every message happens once, through `kill -9` and redelivery.
//! - It runs with nothing installed, on an embedded durable log and SQLite.
//!
//! Start with the guide: [a first service](guide::first_service), [handlers](guide::handlers),
//! [what a delivery is](guide::delivery), [sagas](guide::sagas), [testing](guide::testing),
//! [operating a service](guide::operations), [routes and their description](guide::http), [traces](guide::tracing),
//! [PostgreSQL](guide::postgres), [Apache Kafka](guide::kafka).
//! Who comes from Spring finds what is called what in `docs/from-spring.md`, in the repository.
//!
//! # Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `sqlite` | the SQLite store, and the embedded durable log | yes |
//! | `kafka` | the Apache Kafka transport | yes |
//! | `zstd` | records compressed by zstd, with `kafka`; builds the C library zstd | yes |
//! | `postgres` | the PostgreSQL store | |
//! | `tls` | TLS to Kafka, with SCRAM and OAUTHBEARER, and to PostgreSQL; builds OpenSSL, which takes perl and make | |
//! | `http` | health, metrics, dead letters and sagas as axum routers, and helpers for routes of your own | |
//! | `openapi` | `/openapi.json` and `/docs`: the routes described by OpenAPI 3.1; with `http` | |
//! | `config` | settings from defaults, a TOML file, the environment and flags | |
//! | `cli` | the program `sagas`: instances, timelines, flows, checks ([from the command line](guide::operations#from-the-command-line)); with `sqlite` and `postgres` | |
//! | `otel` | spans of deliveries, requests and units of work, sent by OTLP to an OpenTelemetry collector ([traces](guide::tracing)) | |
//! | `test-util` | the test pump, fault injection, the conformance suites | |

//! # Versions
//!
//! Two libraries are part of this crate's own interface, so a service has to use the same versions of them: **sqlx 0.9** (statements run on
//! [`Tx`](store::Tx)) and **axum 0.8** (routes). They are here as `sagas::sqlx` (with `sqlite` or `postgres`) and `sagas::axum` (with `http`),
//! for a service that does not name them itself. One that does may turn on any of their features. The macros of sqlx, `query!` for one, look
//! for a dependency called `sqlx`. Rust has to be 1.94 or newer, which is what sqlx 0.9 needs.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(feature = "config", feature = "http", feature = "sqlite", feature = "test-util"))]
pub mod guide;

/// axum 0.8, of which routes are made.
#[cfg(feature = "http")]
#[doc(no_inline)]
pub use saga_core::axum;
/// sqlx 0.9, whose statements run on a [`Tx`](store::Tx).
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[doc(no_inline)]
pub use saga_core::sqlx;

#[cfg(feature = "config")]
pub use saga_core::config;
#[cfg(feature = "http")]
pub use saga_core::http;
#[cfg(feature = "otel")]
pub use saga_core::runtime::{TraceSettings, Traces, TracesError};
#[cfg(feature = "test-util")]
pub use saga_core::testing;
pub use saga_core::{extract, failure, handler, id, message, retry, runtime, saga, settings, store, time, transport};
pub use saga_core::{
    failure::{Failure, Fault, OrRetry},
    runtime::{
        Aborting, App, Handle, Remote, Sagas, Service, ServiceHandle, StartError, Tracker, Unavailable, UnitOfWork, stop_signal,
    },
    settings::Settings,
    store::Database,
};

/// The Apache Kafka transport.
#[cfg(feature = "kafka")]
#[doc(inline)]
pub use saga_kafka as kafka;

mod macros;

pub use macros::{event, handler, saga};

#[doc(hidden)]
pub use saga_core::__private;

/// What nearly every service uses.
pub mod prelude {
    pub use crate::{
        Aborting, App, Database, Failure, Fault, OrRetry, Remote, Service, ServiceHandle, Tracker, UnitOfWork,
        extract::{Batch, Meta, On, State, Undo, Work},
        handlers,
        macros::{event, handler, saga},
        message::Event,
        saga::{Deadline, Saga},
        store::Tx,
    };
}

/// The examples of the README are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
