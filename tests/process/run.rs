//! `App::run` stops on the signal of containers and on Ctrl-C, while it serves, while it starts and while it stops.

use std::time::Duration;

use sagas_tests::process::{Program, command, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the program and waits until it prints `line`.
async fn that_says(line: &str, does: &str) -> Program {
    let program = Program::start(&mut command(env!("CARGO_BIN_EXE_app-under-test"), [does]));
    eventually(PATIENCE, line, async || match program.printed() {
        lines if lines.iter().any(|printed| printed == line) => Ok(()),
        lines => Err(format!("{lines:?}")),
    })
    .await;
    program
}

async fn ends_in_time(program: Program) {
    let ended = program.ends_within(PATIENCE).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert_eq!(ended.stdout.last().map(String::as_str), Some("in time: true"), "{ended:#?}");
}

#[tokio::test]
async fn an_app_that_serves_stops_when_it_is_told() {
    for signal in ["TERM", "INT"] {
        let program = that_says("serving", "serves").await;
        program.signal(signal).await;
        ends_in_time(program).await;
    }
}

#[tokio::test]
async fn an_app_that_starts_stops_when_it_is_told() {
    for signal in ["TERM", "INT"] {
        let program = that_says("starting", "starts").await;
        program.signal(signal).await;
        ends_in_time(program).await;
    }
}

#[tokio::test]
async fn a_second_signal_ends_a_stop_that_takes_long() {
    let program = that_says("handling", "handles").await;
    // A second signal before the stop has begun has no further effect.
    let pid = program.pid();
    let insisting = tokio::spawn(async move {
        loop {
            let kill = format!("kill -TERM {pid} 2>/dev/null");
            if !tokio::process::Command::new("sh").arg("-c").arg(kill).status().await.unwrap().success() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let ended = program.ends_within(PATIENCE).await;
    insisting.abort();
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert_eq!(ended.stdout.last().map(String::as_str), Some("in time: false"), "{ended:#?}");
}
