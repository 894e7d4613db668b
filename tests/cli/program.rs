//! The program under test.

use std::{ffi::OsStr, path::Path, time::Duration};

use sagas_tests::process::{Ended, Program};
use serde_json::Value;
use tokio::process::Command;

/// How long a bounded piece of work may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The command with these arguments, in an environment that sets nothing of it.
pub fn sagas<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = sagas_tests::process::command(env!("CARGO_BIN_EXE_sagas-under-test"), args);
    command.env_remove("SAGAS_DATA").env_remove("SAGAS_DATABASE");
    command
}

/// What came of the command on the databases in `folder`.
pub async fn on(folder: &Path, args: &[&str]) -> Ended {
    let mut command = sagas(["--data"]);
    command.arg(folder).args(args);
    Program::run(&mut command, PATIENCE).await
}

/// What it prints for people, having ended with `code`.
pub async fn text(folder: &Path, args: &[&str], code: i32) -> String {
    let ended = on(folder, args).await;
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(code), ""), "{ended:#?}");
    ended.stdout.join("\n")
}

/// What it prints for programs, a value a line, having ended with `code`.
pub async fn values(folder: &Path, args: &[&str], code: i32) -> Vec<Value> {
    let ended = on(folder, &[args, &["--json"]].concat()).await;
    assert_eq!(ended.status.code(), Some(code), "{ended:#?}");
    ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// It ends with `code`, and says all of `told` on stderr; on stdout, which is for results, nothing.
pub async fn is_refused(mut command: Command, code: i32, told: &[&str]) -> Ended {
    let ended = Program::run(&mut command, PATIENCE).await;
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(code), 0), "{ended:#?}");
    for part in told {
        assert!(ended.stderr.contains(part), "{part:?} is missing: {ended:#?}");
    }
    assert!(!ended.stderr.contains("panicked") && !ended.stderr.contains("hunter2"), "{ended:#?}");
    ended
}
