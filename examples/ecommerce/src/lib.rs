//! An order system of five services, built on `sagas` as a user would build it.
//!
//! [`contracts`] defines the events that the services exchange. [`services`] contains the services, each in its own folder.
//! [`start`] runs them in one process or in several. [`main`] is the command `ecommerce`: it runs the services with a short demo,
//! and has the subcommands `bench`, `check` and `health`.

#![forbid(unsafe_code)]

mod app;
mod bench;
pub mod check;
pub mod client;
pub mod contracts;
mod demo;
mod percentile;
pub mod services;

pub use app::{Broker, Config, OperatorToken, Running, ServiceName, StartError, Storage, main, start};
