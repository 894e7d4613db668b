//! An order system of five services, built on `sagas` as a user would build it.
//!
//! [`contracts`] defines the events that the services exchange. [`services`] contains the services, each in its own folder.
//! [`start`] runs them in one process or in several. [`main`] is the command `ecommerce`: it runs the services with a short demo,
//! and has the subcommands `bench`, `check` and `health`; its modules are in the folder `cli`, and no service depends on them.
//! [`check`] has the invariants of the whole system, which the services audit.

#![forbid(unsafe_code)]

mod app;
pub mod check;
mod cli;
pub mod client;
pub mod contracts;
mod percentile;
pub mod services;

pub use app::{Broker, Config, OperatorToken, Running, ServiceName, StartError, Storage, start};
pub use cli::main;
