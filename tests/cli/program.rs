//! The program under test.

use std::{ffi::OsStr, path::Path, time::Duration};

use sagas_tests::process::{Ended, Program};
use serde_json::Value;
use tokio::process::Command;

/// How long a short command can take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the command with these arguments, without environment variables that configure it.
pub fn sagas<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = sagas_tests::process::command(env!("CARGO_BIN_EXE_sagas-under-test"), args);
    command.env_remove("SAGAS_DATA").env_remove("SAGAS_DATABASE");
    command
}

/// Runs the command on the databases in `folder`.
pub async fn on(folder: &Path, args: &[&str]) -> Ended {
    let mut command = sagas(["--data"]);
    command.arg(folder).args(args);
    Program::run(&mut command, PATIENCE).await
}

/// Returns the output for people of a command that ends with `code`.
pub async fn text(folder: &Path, args: &[&str], code: i32) -> String {
    let ended = on(folder, args).await;
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(code), ""), "{ended:#?}");
    ended.stdout.join("\n")
}

/// Returns the output for programs, one value per line, of a command that ends with `code`.
pub async fn values(folder: &Path, args: &[&str], code: i32) -> Vec<Value> {
    let ended = on(folder, &[args, &["--json"]].concat()).await;
    assert_eq!(ended.status.code(), Some(code), "{ended:#?}");
    ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// Checks that the command ends with `code`, writes all of `told` to stderr, and writes nothing to stdout, which is for results.
pub async fn is_refused(mut command: Command, code: i32, told: &[&str]) -> Ended {
    let ended = Program::run(&mut command, PATIENCE).await;
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(code), 0), "{ended:#?}");
    for part in told {
        assert!(ended.stderr.contains(part), "{part:?} is missing: {ended:#?}");
    }
    assert!(!ended.stderr.contains("panicked") && !ended.stderr.contains("hunter2"), "{ended:#?}");
    ended
}
