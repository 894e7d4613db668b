//! The disk is full at a commit: the services wait, report it, and continue by themselves when there is space.
//!
//! The operating system rejects every write of the process to a file, as when a quota is exceeded. A statement of SQLite changes
//! pages in memory; they are written when the transaction commits, so the commit fails.

use std::time::Duration;

use reqwest::StatusCode;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use sagas_tests::process::{
    Customers, Program, Service, Site, all_have_ended, command, eventually, every_order_ended_as_it_should, free_base_port,
    the_sums_are_right,
};
use serde_json::json;

use super::program::serve;

const PATIENCE: Duration = Duration::from_secs(60);
/// The services must be ready within this time after space is available.
const RECOVERY: Duration = Duration::from_secs(15);
const ORDERS: usize = 120;
const SERVICES: [Service; 5] = [Service::Order, Service::Inventory, Service::Payment, Service::Notification, Service::Analytics];

/// Sets whether the process can write to files.
fn set_full(program: &Program, full: bool) {
    let pid = Pid::from_raw(program.pid().try_into().unwrap());
    let limit = Rlimit { current: full.then_some(0), maximum: None };
    prlimit(pid, Resource::Fsize, limit).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for_and_costs_nothing() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let served = serve(folder.path(), base_port);
    // A write beyond the limit must be an error and not a signal. An ignored signal stays ignored in the program that is
    // executed.
    let mut without_signal = command("sh", ["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    without_signal.arg(served.as_std().get_program()).args(served.as_std().get_args());
    let mut program = Program::start(&mut without_signal);
    program.serving().await;
    let mut customers = Customers::of(std::slice::from_ref(&shop), 8);
    customers.allow(ORDERS);
    customers.have_placed(ORDERS / 3, PATIENCE).await;

    set_full(&program, true);
    for service in SERVICES {
        eventually(PATIENCE, "health says so", async || match shop.get(service, "/health/ready").await {
            Err(answer) if answer.contains("503") && answer.contains("check the disk") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    let order = json!({
        "customerId": "late", "items": [{"productId": "tea", "quantity": 1, "unitPrice": 1.0}], "paymentMethod": "CREDIT_CARD",
    });
    let answer = shop.http.post(shop.url(Service::Order, "/orders")).json(&order).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    let placed = customers.placed();
    assert!(placed < ORDERS, "nothing is acknowledged that cannot be kept");
    // Existing data can be read meanwhile.
    assert!(shop.count(Service::Order, "/orders").await.unwrap() >= placed);

    set_full(&program, false);
    for service in SERVICES {
        eventually(RECOVERY, "it is ready again", async || shop.get(service, "/health/ready").await).await;
    }
    customers.have_placed(ORDERS, PATIENCE).await;
    let orders = customers.leave().await;
    all_have_ended(&shop, PATIENCE).await;
    every_order_ended_as_it_should(&shop, &orders).await;
    the_sums_are_right(&shop, &orders, PATIENCE).await;
    for service in SERVICES {
        assert_eq!(shop.count(service, "/dead-letters").await, Ok(0), "no attempt was burnt by the disk");
    }

    program.signal("TERM").await;
    let ended = program.ends_within(RECOVERY).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
}
