//! The runtime: carries out what the engine decides.

mod app;
pub mod health;
pub mod metrics;
mod service;
mod unit_of_work;

pub use app::{App, Handle, StartError};
pub use service::{Service, ServiceHandle};
pub use unit_of_work::{Unavailable, UnitOfWork};
