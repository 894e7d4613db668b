//! The first thing that a new user runs: the demo, and the output of the program around it.

use std::time::Duration;

use sagas_tests::process::{Ended, Program, Service, Site, eventually, free_base_port};
use serde_json::Value;

use super::program::ecommerce;

const PATIENCE: Duration = Duration::from_secs(60);

fn json_lines(ended: &Ended) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?} of {ended:#?}"));
    ended.stdout.iter().map(parse).collect()
}

/// One event of each scenario that no other scenario has, in the order of the demo.
const FLOWS: [&str; 3] = ["OrderConfirmed", "InventoryInsufficient", "PaymentFailed"];

#[tokio::test]
async fn once_plays_the_flows_prints_their_timelines_and_ends_well_twice() {
    let folder = tempfile::tempdir().unwrap();
    for run in ["the first", "the second on the same folder"] {
        let mut command = ecommerce(["--once", "--base-port", "0", "--data-dir"]);
        let ended = Program::run(command.arg(folder.path()), PATIENCE).await;
        assert_eq!(ended.status.code(), Some(0), "{run}: {ended:#?}");
        assert_eq!(ended.stderr, "", "{run}");
        let text = ended.stdout.join("\n");
        let mut from = 0;
        for event in FLOWS {
            let found = text[from..].find(event);
            from += found.unwrap_or_else(|| panic!("{run}: {event} is not where it should be: {text}"));
        }
        for event in
            ["OrderCreated", "InventoryReserved", "PaymentProcessed", "InventoryReleased", "OrderCancelled", "NotificationSent"]
        {
            assert!(text.contains(event), "{run}: {event} is missing: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_plays_each_flow_though_what_it_orders_was_sold_out_before() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let mut program = Program::start(&mut super::program::serve(folder.path(), base_port));
    program.serving().await;
    let shop = Site::at(base_port);
    let order = serde_json::json!({
        "customerId": "collector",
        "items": [{"productId": "teapot", "quantity": 50, "unitPrice": 49}],
    });
    let placed = shop.http.post(shop.url(Service::Order, "/orders")).json(&order).send().await.unwrap();
    let order_id = placed.json::<Value>().await.unwrap()["orderId"].as_str().unwrap().to_owned();
    eventually(PATIENCE, "the teapots are sold", async || match shop.status(&order_id).await? {
        status if status == "COMPLETED" => Ok(()),
        status => Err(status),
    })
    .await;
    program.signal("INT").await;
    assert_eq!(program.ends_within(Duration::from_secs(15)).await.status.code(), Some(0));

    let mut command = ecommerce(["--once", "--json", "--base-port", "0", "--data-dir"]);
    let ended = Program::run(command.arg(folder.path()), PATIENCE).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    let played = json_lines(&ended).into_iter().find(|line| line["flow"] == 3).unwrap();
    assert_eq!(played["ok"], true, "{played:#}");
    let timeline = played["timeline"].as_array().unwrap();
    assert!(timeline.iter().any(|moment| moment["event"] == "PaymentFailed"), "{played:#}");
}

#[tokio::test]
async fn once_for_machines_prints_one_json_value_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = ecommerce(["--once", "--json", "--base-port", "0", "--data-dir"]);
    // Logs do not go to standard output, however much is logged.
    let ended = Program::run(command.arg(folder.path()).env("RUST_LOG", "info"), PATIENCE).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    let lines = json_lines(&ended);
    assert!(lines.len() >= FLOWS.len(), "{ended:#?}");
    let text = ended.stdout.join("\n");
    for event in FLOWS {
        assert!(text.contains(event), "{event} is missing: {text}");
    }
}

#[tokio::test]
async fn without_a_demo_no_order_is_placed() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(&mut super::program::serve(folder.path(), 0));
    let services = program.serving().await;
    let orders = reqwest::get(format!("{}/orders", services["order"].as_str().unwrap())).await.unwrap();
    assert_eq!(orders.json::<Value>().await.unwrap(), serde_json::json!([]));
}

#[tokio::test]
async fn what_is_said_while_serving_is_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(ecommerce(["--json", "--base-port", "0", "--data-dir"]).arg(folder.path()));
    let services = program.serving().await;
    assert_eq!(services.as_object().unwrap().len(), 5, "{services}");
    program.signal("INT").await;
    let ended = program.ends_within(Duration::from_secs(15)).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    json_lines(&ended);
}

#[tokio::test]
async fn any_free_port_is_one_for_each_service() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(&mut super::program::serve(folder.path(), 0));
    let services = program.serving().await;
    let urls: std::collections::BTreeSet<_> = services.as_object().unwrap().values().map(Value::to_string).collect();
    assert_eq!(urls.len(), 5, "{services}");
    for url in services.as_object().unwrap().values() {
        let live = reqwest::get(format!("{}/health/live", url.as_str().unwrap())).await.unwrap();
        assert!(live.status().is_success(), "{url}: {live:?}");
    }
}

#[tokio::test]
async fn a_part_of_the_services_runs_at_its_own_ports() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let mut command = super::program::serve(folder.path(), base_port);
    let mut program = Program::start(command.args(["--services", "payment,notification"]));
    let services = program.serving().await;
    let expected = serde_json::json!({
        "payment": format!("http://127.0.0.1:{}", base_port + 2),
        "notification": format!("http://127.0.0.1:{}", base_port + 3),
    });
    assert_eq!(services, expected);
    let shop = Site::at(base_port);
    let ready = async || shop.http.get(shop.url(Service::Payment, "/health/ready")).send().await.unwrap().status();
    eventually(PATIENCE, "the service is ready", async || {
        let status = ready().await;
        status.is_success().then_some(()).ok_or_else(|| status.to_string())
    })
    .await;
    let order = shop.http.get(shop.url(Service::Order, "/health/live")).send().await;
    assert!(order.is_err_and(|error| error.is_connect()), "the order service does not run here");
}
