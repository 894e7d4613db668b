//! The runtime: carries out what the engine decides.

mod after_commit;
mod answered;
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
pub mod health;
mod inbox;
mod item;
mod judge;
mod lane;
mod last;
mod logs;
mod lookout;
pub mod metrics;
#[cfg(feature = "http")]
mod operators;
mod outage;
mod panics;
mod parked;
mod partitions;
mod put_off;
mod relay;
mod replays;
#[cfg(feature = "http")]
mod routes;
mod saga;
mod service;
#[cfg_attr(
    not(all(feature = "otel", feature = "http")),
    allow(dead_code, reason = "without the features nothing is told, or no request, and what would be is not read")
)]
pub(crate) mod spans;
mod start;
mod stop_signal;
mod suspicion;
mod timekeeper;
mod unit_of_work;
mod upkeep;

pub use app::{App, Handle, StartError};
pub use dead_letters::SettledLetters;
pub use health::Health;
pub use metrics::Metrics;
#[cfg(feature = "http")]
pub use operators::Operators;
pub use replays::{PlannedReplay, ReplayError, ReplayPoint, ReplayRequest};
#[cfg(feature = "http")]
pub use routes::Routes;
pub use saga::{InstanceView, OperationError, Remote, Sagas, StepView, Tracker};
pub use service::{Service, ServiceHandle};
#[cfg(feature = "otel")]
pub use spans::{TraceProtocol, TraceSettings, Traces, TracesError};
pub use stop_signal::stop_signal;
pub use unit_of_work::{Aborting, Unavailable, UnitOfWork};
