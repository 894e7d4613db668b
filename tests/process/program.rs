//! The program under test, and how it is started.

use std::{ffi::OsStr, path::Path};

use sagas_tests::process::command;
use tokio::process::Command;

/// Returns the command with these arguments, without environment variables that configure it.
pub fn ecommerce<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    command(env!("CARGO_BIN_EXE_ecommerce-under-test"), args)
}

/// Returns the command that serves from `data_dir` on `base_port`, without a demo and with JSON output.
pub fn serve(data_dir: &Path, base_port: u16) -> Command {
    let mut command = ecommerce(["--no-demo", "--json", "--base-port", &base_port.to_string(), "--data-dir"]);
    command.arg(data_dir);
    command
}
