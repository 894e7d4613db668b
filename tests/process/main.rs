//! The example as its users run it, a process that is started, signalled, killed, and started again on the same folder; and a
//! program that consists of `App::run` only.

#![cfg(unix)]
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, unreachable_pub)]

mod commands;
mod crash;
mod data;
mod demo;
#[cfg(target_os = "linux")]
mod full_disk;
mod mistakes;
mod operators;
mod program;
mod run;
mod settings;
mod stop;
mod stream;
mod traces;
