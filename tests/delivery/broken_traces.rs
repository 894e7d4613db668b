//! A record with an invalid trace context is handled, parked, read back after a restart, dead-lettered and retried like any
//! other: a trace never causes a failure.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sagas::{
    dead_letter::DeadLetterFilter,
    message::{Header, TraceContext},
    prelude::*,
    testing::Pump,
    transport::memory::Memory,
};
use sagas_tests::{schema::Schema, traces::Gathered};

use crate::support::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Headers of trace contexts, each invalid in another way.
fn broken() -> Vec<Vec<Header>> {
    let parent = |value: &[u8]| Header { name: "traceparent".to_owned(), value: Some(Bytes::copy_from_slice(value)) };
    let state = |value: &[u8]| Header { name: "tracestate".to_owned(), value: Some(Bytes::copy_from_slice(value)) };
    vec![
        vec![parent(b"nonsense")],
        vec![parent(b"")],
        vec![parent(b"\xff\xfe\0")],
        vec![Header { name: "traceparent".to_owned(), value: None }],
        vec![parent(PARENT.to_uppercase().as_bytes())],
        vec![parent(&[b'0'; 60_000])],
        vec![parent(PARENT.as_bytes()), parent(b"another")],
        vec![parent(PARENT.as_bytes()), state(b"\xff")],
        vec![state(b"vendor=1")],
    ]
}

/// Returns the trace context headers among `headers`.
fn traced(headers: &[Header]) -> Vec<Header> {
    headers.iter().filter(|header| header.name.starts_with("trace")).cloned().collect()
}

/// Runs the test on `database`, and after a restart on the same database or, if it can be reopened, on `again`.
async fn goes_on(database: Database, again: Option<Database>) {
    let fails = Arc::new(AtomicBool::new(true));
    let it = fails.clone();
    let plan = Plan::new(move |_, _| if it.load(Ordering::SeqCst) { Step::Retry } else { Step::Done });
    let (clock, gathered) = (clock(), Gathered::default());
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let start = |database: &Database, seed| {
        let service = service(database, &plan).handlers(handlers![bare]);
        Pump::of([service]).on(log.clone()).clock(clock.clone()).seed(seed).traces(gathered.traces()).start()
    };
    let (pump, all) = (start(&database, 1).await, broken());
    for (number, headers) in all.iter().enumerate() {
        let (key, value) = (format!("o{number}"), format!(r#"{{"order_id":"o{number}","number":{number}}}"#));
        let mut record = record(Some(key.as_bytes()), Some(value.as_bytes()), &[("ce_type", "Placed")]);
        record.headers.extend(headers.iter().cloned());
        pump.publish_record(record).await;
    }
    pump.run_until_quiet().await;
    assert_eq!(plan.calls().len(), all.len());
    // Parked messages are read back.
    let pump = if let Some(again) = again {
        pump.stop().await;
        start(&again, 2).await
    } else {
        drop(pump);
        start(&database, 2).await
    };
    for _ in 0..3 {
        pump.advance(Duration::from_secs(4)).await;
    }
    let payments = pump.service("payments");
    let (letters, count) = payments.dead_letters(0, 100).await.unwrap();
    assert_eq!((letters.len(), count), (all.len(), all.len() as u64));
    for letter in &letters {
        let key = std::str::from_utf8(letter.received.record.key.as_deref().unwrap()).unwrap();
        let number: usize = key.trim_start_matches('o').parse().unwrap();
        assert_eq!(traced(&letter.received.record.headers), all[number], "as they came: {key}");
        assert!(letter.error.contains("planned"), "it was given up for nothing else: {}", letter.error);
    }
    let sent = pump.records("payments.dlt").await;
    assert_eq!(sent.len(), all.len(), "the copies have left");
    fails.store(false, Ordering::SeqCst);
    payments.retry_dead_letters(&DeadLetterFilter::open(), 100).await.unwrap();
    pump.run_until_quiet().await;
    let charged = pump.records("payments").await;
    assert_eq!(charged.len(), all.len());
    for received in charged {
        let parent = received.record.header("traceparent").unwrap();
        assert!(TraceContext::parse(parent, "").is_some(), "{parent}");
        assert_eq!(
            received.record.header("tracestate"),
            None,
            "a state that is not valid, or of no parent, is passed on to nobody"
        );
    }
    pump.stop().await;
}

#[tokio::test]
async fn a_trace_that_is_broken_fails_no_message() {
    for database in databases().await {
        goes_on(database, None).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_trace_that_is_broken_fails_no_message_on_postgres() {
    let schema = Schema::new();
    goes_on(schema.open().await, Some(schema.open().await)).await;
}
