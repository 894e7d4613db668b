//! Rows and events outside a delivery: together, or not at all.

use sagas::{Settings, UnitOfWork, message::TraceContext, prelude::*, testing::Pump};
use std::future::Future;

use crate::support::*;

async fn pump(database: &Database) -> Pump {
    Pump::of([service(database, &Plan::done()).handlers(handlers![bare])]).start().await
}

async fn place(work: &mut UnitOfWork, number: u32) {
    Plan::done().rows().write(work, &placed("a", number)).await.unwrap();
    work.publish(&placed("a", number)).unwrap();
}

#[tokio::test]
async fn rows_and_events_commit_together() {
    let database = sqlite().await;
    let pump = pump(&database).await;
    let mut work = pump.service("payments").begin().await.unwrap();
    place(&mut work, 1).await;
    place(&mut work, 2).await;
    assert_eq!(rows(&database).await.len(), 0, "not before the commit");
    work.commit().await.unwrap();
    pump.run_until_quiet().await;
    assert_eq!(rows(&database).await.len(), 2);
    assert_eq!(pump.published::<Charged>().await.iter().map(|charged| charged.number).collect::<Vec<_>>(), [1, 2]);
}

/// `&mut work` is an executor, as `&mut *work` is.
#[tokio::test]
async fn statements_run_on_it_as_on_its_transaction() {
    let database = sqlite().await;
    let pump = pump(&database).await;
    let mut work = pump.service("payments").begin().await.unwrap();
    let insert = "INSERT INTO entries (order_id, number) VALUES ($1, 1)";
    sqlx::query::<sqlx::Any>(insert).bind("a").execute(&mut work).await.unwrap();
    sqlx::query::<sqlx::Any>(insert).bind("b").execute(&mut *work).await.unwrap();
    let count = "SELECT count(*) FROM entries";
    assert_eq!(sqlx::query_scalar::<sqlx::Any, i64>(count).fetch_one(&mut work).await.unwrap(), 2);
    assert_eq!(rows(&database).await.len(), 0, "not before the commit");
    work.commit().await.unwrap();
    assert_eq!(rows(&database).await.len(), 2);
    pump.stop().await;
}

#[tokio::test]
async fn dropped_it_did_nothing() {
    let database = sqlite().await;
    let pump = pump(&database).await;
    let mut work = pump.service("payments").begin().await.unwrap();
    place(&mut work, 1).await;
    drop(work);
    let mut work = pump.service("payments").begin().await.unwrap();
    place(&mut work, 2).await;
    work.commit().await.unwrap();
    pump.run_until_quiet().await;
    assert_eq!(rows(&database).await, [("a".to_owned(), 2)]);
    assert_eq!(pump.published::<Placed>().await, [placed("a", 2)]);
}

/// Polls `future` at most `times` times, then drops it. Returns whether it was dropped before its end.
pub async fn poll_and_drop<F: Future>(future: F, times: usize) -> bool {
    let mut future = Box::pin(future);
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return std::task::Poll::Ready(true);
        }
        left -= 1;
        let ended = future.as_mut().poll(cx).map(|_| false);
        cx.waker().wake_by_ref();
        ended
    })
    .await
}

#[tokio::test]
async fn a_commit_that_is_dropped_midway_is_all_or_nothing() {
    for times in 0..12 {
        let database = sqlite().await;
        let pump = pump(&database).await;
        let mut work = pump.service("payments").begin().await.unwrap();
        place(&mut work, 1).await;
        poll_and_drop(work.commit(), times).await;
        // Whether or not it committed, it has ended when the next one begins.
        let mut work = pump.service("payments").begin().await.unwrap();
        place(&mut work, 2).await;
        work.commit().await.unwrap();
        pump.run_until_quiet().await;
        let published: Vec<_> = pump.published::<Placed>().await.iter().map(|placed| i64::from(placed.number)).collect();
        let written: Vec<_> = rows(&database).await.into_iter().map(|(_, number)| number).collect();
        assert_eq!(written, published, "polled {times} times");
    }
}

#[tokio::test]
async fn a_flow_begins_as_it_is_told() {
    for database in databases().await {
        let pump = pump(&database).await;
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut work = pump.service("payments").begin().await.unwrap();
        work.correlate("flow-1");
        work.saga("saga-1");
        work.trace(TraceContext::parse(trace, ""));
        assert_eq!(work.correlation_id(), "flow-1");
        let id = work.publish(&placed("a", 1)).unwrap();
        work.commit().await.unwrap();
        pump.run_until_quiet().await;
        let records = pump.records("orders").await;
        let header = |name: &str| records[0].record.header(name);
        assert_eq!(
            (header("ce_correlationid"), header("ce_sagaid"), header("ce_causationid")),
            (Some("flow-1"), Some("saga-1"), None)
        );
        assert_eq!((header("ce_id"), header("ce_source")), (Some(id.as_str()), Some("payments")));
        assert_eq!(header("traceparent").map(|parent| parent[..36].to_owned()), Some(trace[..36].to_owned()));
        assert_eq!(pump.records("payments").await[0].record.header("ce_correlationid"), Some("flow-1"));
    }
}

#[event(topic = "unheard", key = order_id)]
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Unheard {
    order_id: String,
}

#[tokio::test]
async fn an_event_whose_topic_nobody_reads_is_published_too() {
    for database in databases().await {
        let pump = pump(&database).await;
        let mut work = pump.service("payments").begin().await.unwrap();
        work.publish(&Unheard { order_id: "a".to_owned() }).unwrap();
        work.commit().await.unwrap();
        settle(&pump, &["payments"]).await;
        assert_eq!(pump.published::<Unheard>().await.len(), 1);
    }
}

#[tokio::test]
async fn an_event_too_large_is_refused_and_nothing_is_written() {
    let database = sqlite().await;
    let mut settings = Settings::default();
    settings.max_record_bytes = 100;
    let pump = Pump::of([service(&database, &Plan::done()).handlers(handlers![bare]).settings(settings)]).start().await;
    let mut work = pump.service("payments").begin().await.unwrap();
    place(&mut work, 1).await;
    work.publish(&placed(&"x".repeat(200), 1)).unwrap();
    let error = work.commit().await.unwrap_err().to_string();
    assert!(error.contains("max_record_bytes"), "{error}");
    pump.run_until_quiet().await;
    assert!(rows(&database).await.is_empty() && pump.records("orders").await.is_empty());
}
