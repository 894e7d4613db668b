//! Event-driven services on Apache Kafka: each message takes effect once, and a business transaction across services either completes or is
//! undone.
//!
//! - [`#[event]`](macro@event) makes a struct an event, with a topic, a key, a name and a version.
//! - [`#[handler]`](macro@handler) makes an async fn the handler of an event. Its arguments are extractors, as in axum.
//! - [`#[saga]`](macro@saga) makes an enum a saga across services: its steps, their compensations and its deadline. There is no
//!   coordinator. The compiler checks the saga and the handlers of its steps, and one service tracks its instances.
//! - A delivery is one database transaction: the inbox claim, the handler's writes and the events that it returns commit together or not
//!   at all. Each message takes effect once, despite `kill -9` and redelivery.
//! - A service runs without any server, on an embedded durable log and SQLite, and unchanged on Apache Kafka and PostgreSQL.
//!
//! # A first program
//!
#![cfg_attr(all(feature = "http", feature = "sqlite"), doc = "```no_run")]
#![cfg_attr(all(feature = "http", feature = "sqlite"), doc = include_str!("../examples/hello.rs"))]
#![cfg_attr(all(feature = "http", feature = "sqlite"), doc = "```")]
//!
//! The [README](https://docs.rs/crate/sagas/latest/source/README.md) lists its dependencies and the `curl` calls to try.
//!
//! # The guide
//!
//! [A first service](guide::first_service), [features and dependencies](guide::features), [handlers](guide::handlers),
//! [deliveries](guide::delivery), [events that change](guide::changing_events), [other encodings](guide::encodings),
//! [foreign producers](guide::foreign_producers), [sagas](guide::sagas), [splitting a saga](guide::splitting_a_saga), [testing](guide::testing),
//! [operating a service](guide::operations), [protecting the operator routes](guide::protecting_operators),
//! [HTTP routes and OpenAPI](guide::http), [tracing](guide::tracing), [PostgreSQL](guide::postgres), [Apache Kafka](guide::kafka),
//! [an existing service](guide::existing_service), [glossary](guide::glossary). For readers who come from Spring, `docs/from-spring.md` in the
//! repository lists the counterparts.
//!
//! # Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `sqlite` | the SQLite store, and the embedded durable log | yes |
//! | `kafka` | the Apache Kafka transport; builds librdkafka and zstd | |
//! | `postgres` | the PostgreSQL store | |
//! | `tls` | TLS to Kafka, with SCRAM and OAUTHBEARER, and to PostgreSQL; builds OpenSSL, which takes perl and make | |
//! | `http` | health, metrics, dead letters and sagas as axum routers, and helpers for your own routes | |
//! | `openapi` | `/openapi.json` and `/docs`: the routes described by OpenAPI 3.1; with `http` | |
//! | `config` | settings from defaults, a TOML file, the environment and flags | |
//! | `cli` | the program `sagas`: instances, timelines, diagrams, checks ([from the command line](guide::operations#from-the-command-line)); with `sqlite` and `postgres` | |
//! | `otel` | spans of deliveries, requests and units of work, sent by OTLP to an OpenTelemetry collector ([traces](guide::tracing)) | |
//! | `avro` | events as Avro, with a schema registry ([other encodings](guide::encodings)) | |
//! | `protobuf` | events as Protobuf, with or without a schema registry | |
//! | `test-util` | the test pump, fault injection, the conformance suites | |
//!
//! [Features and dependencies](guide::features) lists the dependency lines for each kind of service, and what each feature costs.
//!
//! # Versions
//!
//! Two libraries are part of this crate's interface, so a service must use the same versions of them: **sqlx 0.9** (statements run on
//! [`Tx`](store::Tx)) and **axum 0.8** (routes). They are re-exported as `sagas::sqlx` (with `sqlite` or `postgres`) and `sagas::axum` (with
//! `http`). A service that depends on them directly can enable any of their features. The macros of sqlx, such as `query!`, require a direct
//! dependency named `sqlx`. Rust has to be 1.94 or newer, because sqlx 0.9 requires it.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod guide;

/// axum 0.8, which the routes are built with.
#[cfg(feature = "http")]
#[doc(no_inline)]
pub use saga_core::axum;
/// sqlx 0.9. Its statements run on a [`Tx`](store::Tx).
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[doc(no_inline)]
pub use saga_core::sqlx;

#[cfg(feature = "config")]
pub use saga_core::config;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use saga_core::runtime::Publisher;
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
    transport::TopicNames,
};
#[cfg(feature = "http")]
pub use saga_core::{
    http,
    runtime::{Operator, Operators},
};

/// The Apache Kafka transport.
#[cfg(feature = "kafka")]
#[doc(inline)]
pub use saga_kafka as kafka;
/// Codecs for Avro and Protobuf, and the client of a schema registry.
#[cfg(any(feature = "avro", feature = "protobuf"))]
#[doc(inline)]
pub use saga_schema as schema;

mod macros;

pub use macros::{event, handler, saga};

#[doc(hidden)]
pub use saga_core::__private;

/// The items that nearly every service uses.
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

/// The examples of the README, which run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
