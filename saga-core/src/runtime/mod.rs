//! The runtime: executes what the engine decides.

mod app;
mod call;
mod conditions;
mod consumer;
mod core;
mod correlation;
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
mod saga;
mod service;
mod sight;
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "without this feature no spans are exported"))]
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
pub use correlation::Correlation;
pub use dead_letters::SettledLetters;
pub use fence::Shutdown;
pub use health::Health;
pub use metrics::Metrics;
#[cfg(feature = "sql")]
pub use publisher::Publisher;
pub use replays::{PlannedReplay, ReplayError, ReplayPoint, ReplayRequest};
pub use saga::{InstanceView, OperationError, Remote, Sagas, StepView, Tracker};
pub use service::{Server, ServerTask, Service, ServiceHandle};
pub use spans::{RequestSpan, Value as SpanValue};
#[cfg(feature = "otel")]
pub use spans::{TraceProtocol, TraceSettings, Traces, TracesError};
pub use stop_signal::stop_signal;
pub use unit_of_work::{Aborting, Unavailable, UnitOfWork};

/// The instances of sagas as their tracker stores them, for programs that read a tracker's tables.
pub mod tracking {
    pub use crate::engine::saga::{EventSeen, GivenUp, Instance, Observation, Outstanding};
}
