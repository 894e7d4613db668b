//! A stop in the middle of work: it ends soon and successfully, and the next start finishes the open work.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sagas_tests::process::{Customers, Fate, Program, Service, Site, eventually, free_base_port, place};
use serde_json::json;

use super::program::serve;

const PATIENCE: Duration = Duration::from_secs(60);

async fn stops_under_load_and_finishes_later(signal: &str) {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let mut program = Program::start(&mut serve(folder.path(), base_port));
    program.serving().await;
    let mut customers = Customers::of(std::slice::from_ref(&shop), 16);
    customers.allow(10_000);
    customers.have_placed(100, PATIENCE).await;

    program.signal(signal).await;
    let ended = program.ends_within(Duration::from_secs(15)).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert!(!ended.stderr.contains("ERROR") && !ended.stderr.contains("panicked"), "{ended:#?}");
    assert_eq!(open_files(folder.path()), Vec::<PathBuf>::new(), "SQLite's journals, which go when a database is closed");
    let orders = customers.leave().await;

    let mut program = Program::start(&mut serve(folder.path(), base_port));
    program.serving().await;
    for (number, order_id) in &orders {
        eventually(PATIENCE, "what was open ends", async || {
            let (status, expected) = (shop.status(order_id).await?, Fate::of(*number).status());
            (status == expected).then_some(()).ok_or_else(|| format!("order {number} is {status}, not yet {expected}"))
        })
        .await;
    }
}

/// Returns the files that SQLite leaves next to a database that was not closed.
fn open_files(data_dir: &Path) -> Vec<PathBuf> {
    let folders = [data_dir.to_owned(), data_dir.join("log")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    files.filter(|path| path.to_string_lossy().ends_with("-wal")).collect()
}

/// Starts a program that is in the middle of a charge, which takes longer than any stop.
async fn charging(shop: &Site, data_dir: &Path, base_port: u16) -> (Program, String) {
    let mut program = Program::start(&mut serve(data_dir, base_port));
    program.serving().await;
    let slow = json!({"latencyMs": 600_000});
    let switched = shop.http.put(shop.url(Service::Payment, "/gateway")).json(&slow).send().await.unwrap();
    assert!(switched.status().is_success(), "{switched:?}");
    let order_id = place(shop, 0).await;
    eventually(PATIENCE, "the customer is being charged", async || {
        let payments = shop.get(Service::Payment, &format!("/payments?orderId={order_id}")).await?;
        (payments[0]["status"] == "PROCESSING").then_some(()).ok_or_else(|| payments.to_string())
    })
    .await;
    (program, order_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_does_not_answer_does_not_hold_up_the_stop() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let (program, order_id) = charging(&shop, folder.path(), base_port).await;
    program.signal("TERM").await;
    let ended = program.ends_within(Duration::from_secs(15)).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");

    let mut program = Program::start(&mut serve(folder.path(), base_port));
    program.serving().await;
    eventually(PATIENCE, "the order completes", async || match shop.status(&order_id).await?.as_str() {
        "COMPLETED" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_ctrl_c_ends_it_at_once() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let (program, _) = charging(&shop, folder.path(), base_port).await;
    program.signal("INT").await;
    eventually(PATIENCE, "it is stopping", async || {
        let order = shop.get(Service::Order, "/health/live").await;
        order.map_or(Ok(()), |_| Err("it still answers".to_owned()))
    })
    .await;
    program.signal("INT").await;
    let ended = program.ends_within(Duration::from_secs(3)).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("a second signal has ended the stop"), "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_under_load_stops_in_time_and_the_next_start_finishes() {
    stops_under_load_and_finishes_later("INT").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_stops_in_time_and_the_next_start_finishes() {
    stops_under_load_and_finishes_later("TERM").await;
}
