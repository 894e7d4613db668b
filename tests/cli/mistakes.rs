//! Errors of the program state what is wrong, where, and what to do, and have the right exit code.

use std::{ffi::OsStr, fs, path::Path};

use sagas::store::SqlConnection;
use sagas_tests::process::Program;
use tokio::process::Command;

use super::{
    program::{PATIENCE, is_refused, sagas, text},
    records::{Services, file, one_of_each},
};

/// A flag or URL is invalid.
const WRONG_USE: i32 = 2;
/// Any other error.
const FAILED: i32 = 1;

fn ps(folder: impl AsRef<OsStr>) -> Command {
    let mut command = sagas(["ps", "--data"]);
    command.arg(folder);
    command
}

#[tokio::test]
async fn a_flag_that_does_not_fit_is_named() {
    for (args, told) in [
        (&["--stuk"][..], &["--stuk", "--stuck"][..]),
        (&["--state", "lost"], &["lost", "running", "aborted"]),
        (&["--limit", "0"], &["--limit", "0"]),
        (&["--every", "1s"], &["--watch"]),
        (&["--watch", "--every", "1"], &["--every", "250ms"]),
        (&["--watch", "--every", "1ms"], &["--every", "100ms"]),
        (&["--stuck", "--all"], &["--stuck", "--all"]),
        (&["--data", "a", "--database", "sqlite:b"], &["--data and --database contradict each other"]),
    ] {
        is_refused(sagas([&["ps"], args].concat()), WRONG_USE, told).await;
    }
    is_refused(sagas(["expain"]), WRONG_USE, &["expain", "explain"]).await;
    let ended = Program::run(&mut sagas(["--help"]), PATIENCE).await;
    assert_eq!(ended.status.code(), Some(0));
    for part in ["--database", "SAGAS_DATA", "Exit codes", "explain"] {
        assert!(ended.stdout.join("\n").contains(part), "{part:?} is missing: {ended:#?}");
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_told_without_its_password() {
    for url in [
        "mysql://shop:hunter2@db/orders",
        "shop:hunter2@db",
        "memory:",
        "sqlite::memory:",
        "sqlite:",
        "postgres://shop:hunter2@db:port/orders",
        "postgres://shop:hunter2@db/orders?max_conections=hunter2",
    ] {
        is_refused(sagas(["ps", "--database", url]), WRONG_USE, &["--database"]).await;
        let mut command = sagas(["ps"]);
        command.env("SAGAS_DATABASE", url);
        is_refused(command, WRONG_USE, &[]).await;
    }
    let away = "postgres://shop:hunter2@127.0.0.1:1/orders";
    is_refused(sagas(["ps", "--database", away]), FAILED, &["127.0.0.1:1", "Connection refused"]).await;
}

#[tokio::test]
async fn a_folder_without_databases_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    is_refused(ps(&missing), FAILED, &[&missing.display().to_string(), "cannot be read", "--data"]).await;
    assert!(!missing.exists());
    is_refused(ps(folder.path()), FAILED, &["there is no <service>.sqlite in this folder", "--data"]).await;
    let mut command = sagas(["ps"]);
    command.current_dir(folder.path());
    is_refused(command, FAILED, &["./data"]).await;
    let mut command = sagas(["ps"]);
    command.env("SAGAS_DATA", &missing);
    is_refused(command, FAILED, &[&missing.display().to_string()]).await;
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_database_that_is_none_or_not_ours_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("order.sqlite");
    let shown = path.display().to_string();
    fs::write(&path, "this is no database, though it is long enough to be one".repeat(100)).unwrap();
    is_refused(ps(folder.path()), FAILED, &[&shown, "no SQLite database"]).await;
    is_refused(sagas(["ps", "--database", &format!("sqlite:{shown}")]), FAILED, &[&shown, "no SQLite database"]).await;
    fs::write(&path, "").unwrap();
    is_refused(ps(folder.path()), FAILED, &[&shown, "none of the framework's tables", "name the database of a service"]).await;
    let missing = format!("{shown}-not");
    is_refused(sagas(["ps", "--database", &format!("sqlite:{missing}")]), FAILED, &[&missing, "cannot be found"]).await;
    assert!(!Path::new(&missing).exists() && fs::read(&path).unwrap().is_empty());
}

#[tokio::test]
async fn a_database_of_another_version_is_named() {
    for (sql, told) in [
        ("INSERT INTO sagas_migrations VALUES ('sagas', 99, 'later', '')", "a newer program wrote the database: run that one"),
        ("DELETE FROM sagas_migrations WHERE version > 2", "an older program wrote the database; start its service once"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        Services::in_folder(folder.path()).await.stop().await;
        let payment = file(folder.path(), "payment").await;
        let mut tx = payment.store().begin().await.unwrap();
        let Some(SqlConnection::Sqlite(connection)) = tx.sql() else { panic!("no SQLite") };
        sqlx::query(sql).execute(connection).await.unwrap();
        tx.commit().await.unwrap();
        payment.store().close().await;
        is_refused(ps(folder.path()), FAILED, &["payment.sqlite", told]).await;
    }
}

#[tokio::test]
async fn a_database_of_somebody_else_beside_the_services_is_passed_over() {
    let folder = one_of_each().await;
    let before = text(folder.path(), &["ps", "--all"], 0).await.lines().count();
    fs::write(folder.path().join("gateway.sqlite"), "").unwrap();
    assert_eq!(text(folder.path(), &["ps", "--all"], 0).await.lines().count(), before);
    let mut command = ps(folder.path());
    is_refused_with(command.args(["--service", "gateway"]), "gateway.sqlite").await;
}

#[tokio::test]
async fn a_service_that_keeps_nothing_is_named_with_those_that_do() {
    let folder = one_of_each().await;
    let mut command = ps(folder.path());
    is_refused_with(command.args(["--service", "pyament"]), "pyament: it keeps nothing in").await;
    is_refused_with(command.args(["--json"]), "there are inventory, order, payment").await;
}

async fn is_refused_with(command: &mut Command, told: &str) {
    let ended = Program::run(command, PATIENCE).await;
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(FAILED), 0), "{ended:#?}");
    assert!(ended.stderr.contains(told), "{told:?} is missing: {ended:#?}");
}
