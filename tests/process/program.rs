//! The program under test, and how it is to serve.

use std::{ffi::OsStr, path::Path};

use sagas_tests::process::command;
use tokio::process::Command;

/// The command with these arguments, in an environment that sets nothing of it.
pub fn ecommerce<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    command(env!("CARGO_BIN_EXE_ecommerce-under-test"), args)
}

/// The command that serves from `data_dir` on `base_port` without a demo, and says so in JSON.
pub fn serve(data_dir: &Path, base_port: u16) -> Command {
    let mut command = ecommerce(["--no-demo", "--json", "--base-port", &base_port.to_string(), "--data-dir"]);
    command.arg(data_dir);
    command
}
