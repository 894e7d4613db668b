//! The commands `ecommerce check` and `ecommerce bench`.

use std::{path::Path, time::Duration};

use sagas_tests::process::{Ended, Fate, Program, Site, eventually, free_base_port, place};
use serde_json::Value;

use super::program::{ecommerce, serve};

const PATIENCE: Duration = Duration::from_secs(60);

async fn check(data_dir: &Path, base_port: u16) -> (Ended, Value) {
    let mut command = ecommerce(["check", "--json", "--base-port", &base_port.to_string(), "--data-dir"]);
    let ended = Program::run(command.arg(data_dir), PATIENCE).await;
    let report = ended.stdout.first().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    (ended, report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_asks_the_running_system_and_reads_the_data_of_a_stopped_one() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let mut program = Program::start(&mut serve(folder.path(), base_port));
    program.serving().await;
    for number in 0..5 {
        let order_id = place(&shop, number).await;
        eventually(PATIENCE, "the order ends", async || {
            let status = shop.status(&order_id).await?;
            (status == Fate::of(number).status()).then_some(()).ok_or(status)
        })
        .await;
    }
    // The running system is queried, not the data folder: another folder is given.
    let elsewhere = folder.path().join("elsewhere");
    let (running, while_running) = check(&elsewhere, base_port).await;
    assert_eq!(running.status.code(), Some(0), "{running:#?}");
    assert_eq!(
        (&while_running["ok"], &while_running["confirmed"], &while_running["cancelled"]),
        (&true.into(), &3.into(), &2.into())
    );
    assert!(!elsewhere.exists());

    program.signal("TERM").await;
    assert_eq!(program.ends_within(Duration::from_secs(15)).await.status.code(), Some(0));
    let (stopped, at_rest) = check(folder.path(), base_port).await;
    assert_eq!(stopped.status.code(), Some(0), "{stopped:#?}");
    assert_eq!(at_rest, while_running);
}

#[tokio::test]
async fn check_says_that_there_is_nothing_to_check() {
    let folder = tempfile::tempdir().unwrap();
    let (ended, _) = check(folder.path(), free_base_port()).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert!(ended.stderr.contains(&folder.path().display().to_string()) && ended.stderr.contains("--data-dir"), "{ended:#?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a check makes no files");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_fails_and_names_the_product_when_a_unit_is_missing() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let mut program = Program::start(&mut serve(folder.path(), base_port));
    program.serving().await;
    program.signal("INT").await;
    assert_eq!(program.ends_within(Duration::from_secs(15)).await.status.code(), Some(0));
    super::data::take_a_unit(folder.path(), "mug").await;
    let (ended, report) = check(folder.path(), base_port).await;
    assert_eq!((ended.status.code(), &report["ok"]), (Some(1), &false.into()), "{ended:#?}");
    assert!(ended.stdout.join("").contains("mug"), "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench_drives_orders_and_checks_the_invariants() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = ecommerce(["bench", "--orders", "60", "--json", "--base-port", "0", "--data-dir"]);
    let ended = Program::run(command.arg(folder.path()), Duration::from_secs(90)).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    let lines: Vec<Value> = ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["ok"] == true), "no report of the invariants: {ended:#?}");
    let report = lines.iter().find(|line| line["orders"] == 60);
    let report = report.unwrap_or_else(|| panic!("no report of the orders: {ended:#?}"));
    assert_eq!(report["measured"], "from the POST to the final state", "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_asks_the_services_that_run_in_other_processes() {
    let (orders, others, base_port) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), free_base_port());
    let part = |folder: &Path, services: &str| {
        let mut command = serve(folder, base_port);
        command.args(["--services", services]);
        command
    };
    let mut order = Program::start(&mut part(orders.path(), "order"));
    order.serving().await;
    let (ended, report) = check(orders.path(), base_port).await;
    assert_eq!((ended.status.code(), &report["ok"]), (Some(1), &false.into()), "nobody can be asked yet: {ended:#?}");
    let mut beside = Program::start(&mut part(others.path(), "inventory,payment"));
    beside.serving().await;
    let (ended, report) = check(orders.path(), base_port).await;
    assert_eq!((ended.status.code(), &report["ok"]), (Some(0), &true.into()), "{ended:#?}");
}
