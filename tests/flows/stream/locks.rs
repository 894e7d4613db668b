//! Lanes that write to the log of changes in parallel never deadlock.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ecommerce::services::analytics;
use sagas::{
    App, Settings,
    http::ServiceHttp,
    id::IdSource,
    message::{Header, Record},
    port::transport::Transport,
    time::Clock,
    transport::memory::Memory,
};

use super::{happenings, postgres::Scratch};

const ORDERS: usize = 40;
/// How often each event of each order is published, each time with another id.
const TIMES: usize = 3;
/// The number of records after which an invalid record follows.
const EVERY: usize = 7;

/// Returns the sum of the series with this name.
fn sum(metrics: &str, series: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(&format!("{series}{{")));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Returns the same event with another id.
fn again(mut record: Record, ids: &IdSource) -> Record {
    record.headers.retain(|header| header.name != "ce_id");
    record.headers.push(Header::text("ce_id", ids.uuid(Clock::system().now()).to_string()));
    record
}

/// The records of an order are on three topics, and therefore in several lanes. Almost every batch contains an invalid record, so
/// the others run one by one: a transaction then makes many calls of the handler, and holds the locks of each until the last has
/// ended. The events are published several times, so that the calls of one lane concern orders of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn transactions_of_several_calls_take_their_locks_in_one_order() {
    let (log, ids, scratch) = (Arc::new(Memory::new()), IdSource::random(), Scratch::new().await);
    let mut settings = Settings::default();
    // No batch is made smaller because of its duration.
    (settings.lanes, settings.batch_messages, settings.batch_ms) = (6, 24, 600_000);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let service = analytics::service(scratch.open().await, analytics::stream::StreamLimits::default());
    let service = service.settings(settings).listen(listener);
    let handle = App::new("shop").service(service).start(log.clone()).await.unwrap_or_else(|error| panic!("{error}"));

    let happened: Vec<_> =
        vec![happenings(&ids, ORDERS).0; TIMES].into_iter().flatten().map(|record| again(record, &ids)).collect();
    let mut records = Vec::new();
    for some in happened.chunks(EVERY) {
        records.extend_from_slice(some);
        records.push(Record { value: Some(Bytes::from_static(b"nothing")), ..again(some[0].clone(), &ids) });
    }
    assert!(log.publish(records).await.iter().all(Result::is_ok));
    tokio::time::timeout(Duration::from_secs(120), handle.quiet()).await.expect("all is handled");

    let metrics = handle.service("analytics").unwrap().metrics().render();
    assert!(handle.stop().await);
    let (transactions, calls) = (sum(&metrics, "sagas_batch_size_count"), sum(&metrics, "sagas_handler_duration_seconds_count"));
    assert_eq!(scratch.deadlocks().await, 0, "in {transactions} transactions with {calls} calls");
    assert!(calls > 4.0 * transactions, "{calls} calls in {transactions} transactions");
    let done = r#"sagas_deliveries_total{service="analytics",handler="count",outcome="done"}"#;
    assert!(metrics.contains(&format!("{done} {}\n", happened.len())), "{metrics}");
    scratch.drop().await;
}
