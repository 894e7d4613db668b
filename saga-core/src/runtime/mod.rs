//! The runtime: executes what the engine decides.

mod app;
mod call;
mod conditions;
mod consumer;
mod core;
mod dead_letters;
mod detached;
mod effects;
mod fence;
mod gap;
mod handled_before;
pub mod health;
mod inbox;
mod item;
#[cfg(feature = "sql")]
mod joined;
mod judge;
mod lane;
mod last;
mod log_monitor;
mod logs;
pub mod metrics;
#[cfg(feature = "http")]
mod operators;
mod outage;
mod panics;
mod parked;
mod partitions;
mod poison;
mod process;
#[cfg(feature = "sql")]
mod publisher;
mod publishing;
mod put_off;
mod relay;
mod replacement;
mod replays;
#[cfg(feature = "http")]
mod routes;
mod saga;
mod service;
mod sight;
#[cfg_attr(
    not(all(feature = "otel", feature = "http")),
    allow(dead_code, reason = "without these features no spans, or no spans of requests, are exported")
)]
pub(crate) mod spans;
mod start;
mod stop_signal;
mod timekeeper;
mod topic_setup;
mod unit_of_work;
#[cfg(feature = "sql")]
mod unit_of_work_sql;
mod upkeep;

pub use app::{App, Handle, StartError};
pub use dead_letters::SettledLetters;
pub use health::Health;
pub use metrics::Metrics;
#[cfg(feature = "http")]
pub(crate) use operators::{Access, Admission};
#[cfg(feature = "http")]
pub use operators::{Operator, Operators};
#[cfg(feature = "sql")]
pub use publisher::Publisher;
pub use replays::{PlannedReplay, ReplayError, ReplayPoint, ReplayRequest};
#[cfg(feature = "http")]
pub use routes::Routes;
pub use saga::{InstanceView, OperationError, Remote, Sagas, StepView, Tracker};
pub use service::{Service, ServiceHandle};
#[cfg(feature = "otel")]
pub use spans::{TraceProtocol, TraceSettings, Traces, TracesError};
pub use stop_signal::stop_signal;
pub use unit_of_work::{Aborting, Unavailable, UnitOfWork};

/// The instances of sagas as their tracker stores them, for programs that read a tracker's tables.
pub mod tracking {
    pub use crate::engine::saga::{EventSeen, GivenUp, Instance, Observation, Outstanding};
}
