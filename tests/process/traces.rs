//! A collector of traces that is unavailable, becomes available, and receives the remaining spans at the stop.

use std::time::Duration;

use sagas_tests::{
    process::{Program, Service, Site, eventually, free_base_port, place},
    traces::{Receiver, Told, text},
};

use super::program::serve;

const PATIENCE: Duration = Duration::from_secs(60);

/// Returns whether health shows that the collector accepts nothing.
async fn is_away(shop: &Site) -> Result<bool, String> {
    let health = shop.get(Service::Order, "/health").await?;
    Ok(health["checks"]["conditions"].to_string().contains("traces_not_taken"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_is_one_warning_and_takes_what_comes_when_it_is_back() {
    let (folder, base_port, port) = (tempfile::tempdir().unwrap(), free_base_port(), free_base_port());
    let shop = Site::at(base_port);
    let mut command = serve(folder.path(), base_port);
    command.args(["--otlp", &format!("http://127.0.0.1:{port}")]).env("OTEL_BSP_SCHEDULE_DELAY", "100").env("RUST_LOG", "info");
    let mut program = Program::start(&mut command);
    program.serving().await;
    for number in [0, 5] {
        let order = place(&shop, number).await;
        eventually(PATIENCE, "orders are not held up", async || {
            let status = shop.status(&order).await?;
            (status == "COMPLETED").then_some(()).ok_or(status)
        })
        .await;
    }
    eventually(PATIENCE, "the collector is missed", async || is_away(&shop).await?.then_some(()).ok_or("not yet".into())).await;
    let ready = shop.get(Service::Order, "/health/ready").await;
    assert!(ready.is_ok(), "{ready:?}");

    let receiver = Receiver::listen_on(port).await;
    let order = place(&shop, 10).await;
    eventually(PATIENCE, "the collector is back", async || (!is_away(&shop).await?).then_some(()).ok_or("not yet".into())).await;
    eventually(PATIENCE, "the order has ended", async || {
        let status = shop.status(&order).await?;
        (status == "COMPLETED").then_some(()).ok_or(status)
    })
    .await;
    program.signal("TERM").await;
    let ended = program.ends_within(Duration::from_secs(15)).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    let of_order = |what: &str| {
        let lines = ended.stderr.lines().filter(|line| line.contains("traces_not_taken") && line.contains("service=\"order\""));
        lines.filter(|line| line.contains(what)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!((of_order("WARN").len(), of_order("the condition is over").len()), (1, 1), "{}", ended.stderr);
    // The last spans of an order are exported at the stop, if not earlier.
    let spans = receiver.spans();
    let is_its = |span: &&Told| span.kind == "producer" && span.attribute("messaging.kafka.message.key") == order;
    let confirmed = spans.0.iter().filter(is_its).find(|span| span.attribute("sagas.event") == "OrderConfirmed");
    let confirmed = confirmed.unwrap_or_else(|| panic!("\n{}", text(&spans)));
    spans.of_trace(&confirmed.trace).assert_one_trace();
}

#[tokio::test]
async fn a_collector_that_cannot_be_meant_is_wrong_use() {
    for (flag, value, expected) in [
        ("--otlp", "kafka://here:4317", "grpc://host:4317"),
        ("--otlp", "http://user:secret@here:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("--trace-ratio", "2", "from 0 to 1"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = serve(folder.path(), free_base_port());
        command.args([flag, value]);
        if flag == "--trace-ratio" {
            command.args(["--otlp", "http://localhost:4318"]);
        }
        let ended = Program::run(&mut command, PATIENCE).await;
        assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
        assert!(ended.stderr.contains(expected) && !ended.stderr.contains("secret"), "{}", ended.stderr);
    }
}
