//! An order system of five services, built on `sagas` as a user would build it.
//!
//! [`contracts`] says what the services tell each other, [`services`] holds them, each in a folder of its own, and [`start`]
//! runs them, in one process or in several. [`main`] is the command `ecommerce`: it runs them with a short demo, and has the
//! subcommands `bench`, `check` and `health`.

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
