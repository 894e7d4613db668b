//! The runtime: carries out what the engine decides.

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
mod lookout;
pub mod metrics;
mod outage;
mod parked;
mod partitions;
mod relay;
mod replays;
mod saga;
mod service;
mod start;
mod timekeeper;
mod unit_of_work;
mod upkeep;

pub use app::{App, Handle, StartError};
pub use health::Health;
pub use metrics::Metrics;
pub use replays::{PlannedReplay, ReplayError, ReplayPoint, ReplayRequest};
pub use saga::{InstanceView, OperationError, Remote, Sagas, StepView, Tracker};
pub use service::{Service, ServiceHandle};
pub use unit_of_work::{Aborting, Unavailable, UnitOfWork};
