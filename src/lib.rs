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
pub use axum;
/// sqlx 0.9. Its statements run on a [`Tx`](store::Tx).
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[doc(no_inline)]
pub use saga_core::sqlx;

#[cfg(feature = "config")]
pub use saga_core::config;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use saga_core::runtime::Publisher;
#[cfg(feature = "otel")]
pub use saga_core::runtime::{TraceProtocol, TraceSettings, Traces, TracesError};
#[cfg(feature = "test-util")]
pub use saga_core::testing;
pub use saga_core::{
    failure::{Failure, Fault, OrRetry},
    id, retry,
    runtime::{
        Aborting, App, Handle, Remote, Sagas, Service, ServiceHandle, StartError, Tracker, Unavailable, UnitOfWork, health,
        metrics, stop_signal,
    },
    settings::{self, Settings},
    store::Database,
    transport::TopicNames,
};

#[cfg(feature = "http")]
pub use saga_http::{Operator, Operators};

/// The HTTP server of services, its routes, and the extractors of their handlers.
#[cfg(feature = "http")]
#[doc(inline)]
pub use saga_http as http;
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

/// Dead letters: messages that a service no longer retries.
///
/// [`ServiceHandle`] lists, retries and discards them. See [deliveries](guide::delivery).
pub mod dead_letter {
    #[doc(inline)]
    pub use saga_core::{
        runtime::SettledLetters,
        store::{DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterState, LetterHead, LetterSummary},
    };
}

/// Extractors: the types of a handler's arguments.
///
/// | argument | value |
/// |---|---|
/// | [`On<E>`](extract::On) | the event, or one event of an enum of events |
/// | [`Undo<E>`](extract::Undo) | the event that a step published, for the compensation of the step |
/// | [`Batch<E>`](extract::Batch) | all waiting events, in one call |
/// | [`Tx`](store::Tx) | the open transaction of the delivery |
/// | [`Work`](extract::Work) | the right to begin that transaction later, after a call to another system |
/// | [`State<T>`](extract::State) | a value that the handlers of the service share |
/// | [`Meta`](extract::Meta) | the ids, the attempt and the times of the delivery |
/// | [`ServiceHandle`] | the service itself: its database for reading, its clock, and units of work |
///
/// A type of your own becomes an argument by an implementation of [`Extract`](extract::Extract).
pub mod extract {
    #[doc(inline)]
    pub use saga_core::extract::{Batch, Extract, Invocation, Meta, On, Requirements, State, Undo, Work};
}

/// Handlers as values, and the traits of what they return.
///
/// [`#[handler]`](macro@handler) describes a handler, and [`handlers!`] makes a list of them.
pub mod handler {
    #[doc(inline)]
    pub use saga_core::{
        failure::RefusesNothing,
        handler::{AfterDeadLetter, Handler, HandlerDef, HandlerFn, HandlerOptions, IntoOutcome, IntoPublished, Outcome},
    };
}

/// Events, the records that carry them, and the codecs between the two.
pub mod message {
    #[doc(inline)]
    pub use saga_core::handler::PublishedEvent;
    #[doc(inline)]
    pub use saga_core::message::{
        BadHeader, Context, Decode, Encode, Encoded, Envelope, Event, EventKey, EventSet, EventType, Header, Identified, Json,
        NotYet, Outgoing, Raw, Received, Record, TopicPartition, TraceContext, Upcasted, Wrong, headers,
    };
}

/// For implementors of a database, a log or a server, and for programs that read the framework's tables.
///
/// A service needs few of these items: one that chooses its log at run time names the trait [`Transport`](port::transport::Transport).
pub mod port {
    /// The port for what serves the clients of services, such as an HTTP or a gRPC server.
    ///
    /// An implementation of [`Server`](server::Server) is given to a service ([`Service::server`](crate::Service::server)) or to an app
    /// ([`App::server`](crate::App::server)). [`Server`](server::Server) says when each of its methods is called.
    pub mod server {
        #[doc(inline)]
        pub use saga_core::runtime::{Correlation, RequestSpan, Server, ServerTask, Shutdown, SpanValue};
    }

    /// The port to a service's database.
    ///
    /// An implementation of [`Store`](store::Store) and [`StoreTx`](store::StoreTx) must pass the conformance suite,
    /// `sagas::testing::conformance::store`.
    pub mod store {
        #[cfg(any(feature = "postgres", feature = "sqlite"))]
        #[doc(inline)]
        pub use saga_core::store::SqlReader;
        #[doc(inline)]
        pub use saga_core::{
            message::{Shard, Shards},
            saga::LeftBehind,
            store::{
                Advice, AfterCommit, Assignment, Backlog, Bulk, HELD, HandledStore, Hook, InboxKey, KeptClock, Lease,
                OpenVersion, OutboxId, OutboxRow, Ownership, ParkedId, ParkedKey, ParkedMessage, PeerNotification, PrunedLetters,
                PublishTx, ReplayStep, ReplayStore, Returned, SagaStore, Settle, Settled, Share, Sharing, Store, StoreTx,
                StoredDefinition, Taken, Taker, TxSlot, holding_letters, parking_key, settle,
            },
        };
    }

    /// The instances of sagas as their tracker stores them.
    ///
    /// The program `sagas` reads an [`InstanceRecord`](crate::saga::InstanceRecord) with [`Instance::read`](tracking::Instance::read).
    pub mod tracking {
        #[doc(inline)]
        pub use saga_core::runtime::tracking::{EventSeen, GivenUp, Instance, Observation, Outstanding};
    }

    /// The port to a log of records.
    ///
    /// An implementation of [`Transport`](transport::Transport) must pass the conformance suite, `sagas::testing::conformance::transport`.
    pub mod transport {
        #[doc(inline)]
        pub use saga_core::transport::{
            BrokerStatistics, ClientStatistics, Condition, Delivery, GroupLag, PartitionOffsets, PartitionStatistics, Position,
            Subscription, TopicExpectation, TopicFinding, TopicIdentity, TopicSpec, Transport, Weight,
        };
    }
}

/// Replays: a range of a topic that one service reads again.
///
/// [`ServiceHandle::replay`] begins one.
pub mod replay {
    #[doc(inline)]
    pub use saga_core::{
        runtime::{PlannedReplay, ReplayError, ReplayPoint, ReplayRequest},
        store::{Replay, ReplayId, ReplayState},
    };
}

/// Sagas: their definitions, the types of their handlers, and their instances.
///
/// [`#[saga]`](macro@saga) makes an enum a saga. See [sagas](guide::sagas).
pub mod saga {
    #[doc(inline)]
    pub use saga_core::{
        runtime::{InstanceView, OperationError, StepView},
        // Compile errors name the traits of the roles.
        saga::{
            Abort, Cause, Chart, Deadline, Definition, EventRef, InstanceKey, InstanceRecord, InstanceState, KeyOf, NoRefusal,
            OutcomeOf, Participants, Publishes, RetryDeadLetter, Saga, Step, StepAt, StepGivenUp, StepRecord, StepState,
            TriggerOf, Undo, UndoAt, UndoOutcomeOf, UndoneFrom,
        },
        store::{HistoryEntry, InstanceOrder, InstanceQuery},
    };
}

/// The database of a service, and the transaction of a delivery.
pub mod store {
    #[cfg(feature = "postgres")]
    #[doc(inline)]
    pub use saga_core::store::postgres;
    #[cfg(feature = "sqlite")]
    #[doc(inline)]
    pub use saga_core::store::sqlite;
    #[doc(inline)]
    pub use saga_core::store::{Database, DatabaseOptions, Migration, StoreError, Tx, is_unavailable, memory};
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    #[doc(inline)]
    pub use saga_core::store::{IntoSqlConnection, Migrate, SqlConnection};
}

/// The clock, instants, and durations as text.
pub mod time {
    #[doc(inline)]
    pub use saga_core::time::{Clock, LogTime, ParseTimestampError, Timestamp, duration};
}

/// Logs of records that need no server. For Apache Kafka, see the feature `kafka`.
pub mod transport {
    #[cfg(feature = "sqlite")]
    #[doc(inline)]
    pub use saga_core::transport::embedded;
    #[doc(inline)]
    pub use saga_core::transport::{TransportError, memory};
}

/// The items that nearly every service uses.
pub mod prelude {
    #[cfg(feature = "http")]
    pub use crate::http::{AppHttp, HandleHttp, ServiceHttp};
    pub use crate::{
        Aborting, App, Database, Failure, Fault, OrRetry, Remote, Service, ServiceHandle, Tracker, UnitOfWork,
        extract::{Batch, Meta, On, State, Undo, Work},
        handlers,
        macros::{event, handler, saga},
        message::{Event, Identified},
        saga::{Deadline, Saga},
        store::{Migration, Tx},
    };
}

/// The examples of the README, which run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
