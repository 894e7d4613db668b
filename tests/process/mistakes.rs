//! Errors are reported at once: what is wrong, where, and what to do, with the right exit code.

use std::{fs, net::TcpListener, time::Duration};

use sagas_tests::process::{Ended, Program, free_base_port};
use tokio::process::Command;

use super::program::{ecommerce, serve};

/// The time limit for an immediate error, on a machine that also runs other tests.
const AT_ONCE: Duration = Duration::from_secs(10);
/// A flag, a setting, a port or a URL is invalid.
const WRONG_USE: i32 = 2;
/// Any other error.
const FAILED: i32 = 1;

/// Checks that the command ends at once with `code`, writes all of `told` to stderr, and writes nothing to stdout, which is for
/// results.
async fn is_refused(mut command: Command, code: i32, told: &[&str]) -> Ended {
    let ended = Program::run(&mut command, AT_ONCE).await;
    assert_eq!(ended.status.code(), Some(code), "{ended:#?}");
    assert_eq!(ended.stdout, Vec::<String>::new());
    for part in told {
        assert!(ended.stderr.contains(part), "{part:?} is missing: {ended:#?}");
    }
    assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
    ended
}

#[tokio::test]
async fn an_unknown_flag_is_named() {
    is_refused(ecommerce(["--bas-port", "0"]), WRONG_USE, &["--bas-port", "--base-port"]).await;
    is_refused(ecommerce(["benhc"]), WRONG_USE, &["benhc"]).await;
}

#[tokio::test]
async fn a_flag_that_does_not_fit_is_named() {
    is_refused(ecommerce(["--base-port", "70000"]), WRONG_USE, &["--base-port", "70000"]).await;
    is_refused(ecommerce(["--host", "nowhere"]), WRONG_USE, &["--host", "nowhere"]).await;
    is_refused(ecommerce(["--services", "order,delivery"]), WRONG_USE, &["--services", "delivery", "notification"]).await;
    is_refused(ecommerce(["--services", ""]), WRONG_USE, &["--services"]).await;
    is_refused(ecommerce(["--demo", "some"]), WRONG_USE, &["--demo", "short", "all"]).await;
}

#[tokio::test]
async fn to_end_after_a_demo_that_is_not_played_is_a_contradiction() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let once = |more: &[&str]| {
        let mut command = ecommerce(["--once", "--base-port", "0", "--data-dir"]);
        command.arg(&data_dir).args(more);
        command
    };
    is_refused(once(&["--no-demo"]), WRONG_USE, &["--once and --no-demo contradict each other"]).await;
    is_refused(once(&["--services", "payment"]), WRONG_USE, &["--once plays the demo, which needs all five services"]).await;
    is_refused(once(&["--host", "0.0.0.0"]), WRONG_USE, &["--once plays the demo", "--operator-token-file"]).await;
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn a_variable_that_does_not_fit_is_named() {
    let with = |name: &str, value: &str| {
        let mut command = ecommerce::<&str>([]);
        command.env(name, value);
        command
    };
    is_refused(with("ECOMMERCE_BASE_PORT", "many"), WRONG_USE, &["ECOMMERCE_BASE_PORT", "from 0 to 65535"]).await;
    is_refused(with("ECOMMERCE_ONCE", "maybe"), WRONG_USE, &["ECOMMERCE_ONCE"]).await;
    is_refused(with("ECOMMERCE_LIMITS__LANES", "-1"), WRONG_USE, &["ECOMMERCE_LIMITS__LANES"]).await;
}

#[tokio::test]
async fn a_file_that_is_no_settings_is_named_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("shop.toml");
    let shown = config.display().to_string();
    for (text, told) in [
        ("base_port = 0\ndata_dir = = 'x'", vec!["line 2"]),
        ("base_prt = 9000", vec!["base_prt", "base_port"]),
        ("[limits]\nlans = 3", vec!["limits.lans", "lanes"]),
        ("base_port = 'many'", vec!["base_port"]),
    ] {
        fs::write(&config, text).unwrap();
        is_refused(ecommerce(["--config", &shown]), WRONG_USE, &[&told[..], &[&shown]].concat()).await;
    }
    let missing = folder.path().join("none.toml").display().to_string();
    is_refused(ecommerce(["--config", &missing]), WRONG_USE, &[&missing, "cannot be read"]).await;
}

#[tokio::test]
async fn a_url_that_is_none_is_told_without_its_password() {
    for (flag, url) in [
        ("--broker", "amqp://shop:hunter2@broker:5672"),
        ("--broker", "shop:hunter2@broker"),
        ("--broker", "amqp://broker:5672?password=hunter2"),
        ("--database", "mysql://shop:hunter2@db/orders"),
        ("--database", "mysql://db/orders?user=shop&password=hunter2"),
        ("--database", "mysql:shop:hunter2@db"),
        ("--database", "mysql://shop:hunter2?@db/orders"),
        ("--database", "mysql://db/orders?password=@hunter2"),
    ] {
        let ended = is_refused(ecommerce([flag, url]), WRONG_USE, &[flag]).await;
        assert!(!ended.stderr.contains("hunter2"), "{url}: {ended:#?}");
        let variable = format!("ECOMMERCE_{}", flag[2..].to_uppercase());
        let mut command = ecommerce::<&str>([]);
        command.env(variable, url);
        let ended = is_refused(command, WRONG_USE, &[]).await;
        assert!(!ended.stderr.contains("hunter2"), "{url}: {ended:#?}");
    }
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let mut cases = vec![file.clone(), file.join("below")];
    if cfg!(target_os = "linux") {
        cases.push("/proc/shop".into());
    }
    for data_dir in cases {
        let shown = data_dir.display().to_string();
        is_refused(serve(&data_dir, 0), FAILED, &[&shown, "--data-dir"]).await;
    }
}

#[tokio::test]
async fn a_database_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("payment.sqlite"), "this is no database, though it is long enough to be one".repeat(100))
        .unwrap();
    is_refused(serve(folder.path(), 0), FAILED, &["payment.sqlite", "no SQLite database"]).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let base_port = free_base_port();
    let _taken = TcpListener::bind(("127.0.0.1", base_port + 2)).unwrap();
    let data_dir = folder.path().join("data");
    let address = format!("127.0.0.1:{}", base_port + 2);
    is_refused(serve(&data_dir, base_port), WRONG_USE, &["payment", &address, "--base-port"]).await;
    assert!(!data_dir.exists());
    is_refused(serve(&data_dir, 65_533), WRONG_USE, &["--base-port", "65533"]).await;
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Program::start(&mut serve(folder.path(), 0));
    let services = first.serving().await;
    let shown = folder.path().display().to_string();
    is_refused(serve(folder.path(), 0), FAILED, &[&shown, "another process", "use another folder"]).await;
    let health = reqwest::get(format!("{}/health/ready", services["order"].as_str().unwrap())).await.unwrap();
    assert!(health.status().is_success(), "{health:?}");
}
