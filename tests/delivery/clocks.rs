//! The system's clock is set while a service runs, and while it is stopped; the clocks of processes differ.

use std::{sync::Arc, time::Duration};

use sagas::{
    id::MessageId,
    port::{
        store::{InboxKey, KeptClock},
        transport::Transport,
    },
    prelude::*,
    time::{Clock, Timestamp},
    transport::memory::Memory,
};
use tokio::time::{Instant, sleep};

use crate::support::{
    instance::publish,
    store::{Faults, failing},
    *,
};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

async fn start(database: &Database, log: &Memory, clock: &Clock, plan: &Plan) -> sagas::Handle {
    let service = service(database, plan).handlers(handlers![bare]);
    App::new("shop").service(service).clock(clock.clone()).start(Arc::new(log.clone())).await.unwrap()
}

async fn remembers(database: &Database, order_id: &str, number: u32) -> bool {
    let key = InboxKey { source: "shop".into(), id: MessageId::new(format!("{order_id}-{number}")) };
    database.store().seen("payments", &[key]).await.unwrap() == [true]
}

async fn condition(handle: &sagas::Handle, name: &str) -> Option<String> {
    let report = handle.service("payments").unwrap().health().report().await;
    let all = report.checks["conditions"].values["conditions"].as_array().unwrap().clone();
    all.into_iter()
        .find(|condition| condition["condition"] == name)
        .map(|condition| condition["detail"].as_str().unwrap().to_owned())
}

/// Twenty minutes are two rounds of the task that removes old rows.
#[tokio::test(start_paused = true)]
async fn a_jump_forward_while_a_service_runs_forgets_nothing_and_is_in_health() {
    let (database, log, clock) = (Database::memory(), Memory::new(), Clock::wrong_by(0));
    let handle = start(&database, &log, &clock, &Plan::done()).await;
    publish(&log, "a", 1).await;
    handle.quiet().await;
    assert!(remembers(&database, "a", 1).await);
    clock.set_wrong_by(30 * DAY);
    sleep(Duration::from_secs(20 * 60)).await;
    assert!(remembers(&database, "a", 1).await, "it is twenty minutes old");
    let detail = condition(&handle, "clock_jump").await.expect("health says so");
    assert!(detail.contains("ahead"), "{detail}");
    assert!(handle.stop().await);
}

#[tokio::test(start_paused = true)]
async fn a_jump_back_delays_no_parked_message() {
    for jump in [-HOUR, -30 * DAY, HOUR] {
        let (database, log, clock) = (Database::memory(), Memory::new(), Clock::wrong_by(0));
        let plan = Plan::new(|placed, meta| if placed.number == 1 && meta.attempt == 1 { Step::Retry } else { Step::Done });
        let handle = start(&database, &log, &clock, &plan).await;
        publish(&log, "a", 1).await;
        until("it has failed", || async { plan.numbers("a") == [1] }).await;
        let began = Instant::now();
        clock.set_wrong_by(jump);
        // Another message, so that the condition is checked again.
        publish(&log, "b", 2).await;
        while plan.numbers("a") != [1, 1] {
            sleep(Duration::from_millis(10)).await;
            assert!(began.elapsed() < Duration::from_secs(3), "its backoff is a second at most");
        }
        assert!(jump < 0 || began.elapsed() > Duration::from_millis(450), "half a second at least: {:?}", began.elapsed());
        assert!(handle.stop().await);
    }
}

/// The stop is long or short; after it the clock is 30 days ahead.
#[tokio::test(start_paused = true)]
async fn a_jump_forward_while_a_service_is_stopped_forgets_nothing() {
    let (database, log) = (failing(&Database::memory(), &Faults::default()), Memory::new());
    let handle = start(&database, &log, &Clock::wrong_by(0), &Plan::done()).await;
    publish(&log, "a", 1).await;
    handle.quiet().await;
    assert!(handle.stop().await);
    let handle = start(&database, &log, &Clock::wrong_by(30 * DAY), &Plan::done()).await;
    sleep(Duration::from_secs(60)).await;
    assert!(remembers(&database, "a", 1).await, "nobody knows that it is 30 days old");
    let retention = Duration::from_secs(7 * 24 * 60 * 60);
    let service = handle.service("payments").unwrap();
    // A minute has passed since then, by a clock that advances while the test's wall clock stands still.
    assert!(service.older_than(retention) < Clock::wrong_by(0).now().before(retention).after(Duration::from_secs(120)));
    assert!(handle.stop().await);
}

/// The last recorded time is kept for the next process, and a clock that was set back is followed.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_at_the_last_start_is_put_right_at_the_next() {
    let (database, log) = (failing(&Database::memory(), &Faults::default()), Memory::new());
    let handle = start(&database, &log, &Clock::wrong_by(HOUR), &Plan::done()).await;
    assert!(handle.stop().await);
    let KeptClock { seen, .. } = database.store().clock("payments").await.unwrap().unwrap();
    let handle = start(&database, &log, &Clock::wrong_by(0), &Plan::done()).await;
    assert!(seen.since(handle.service("payments").unwrap().clock().now()) > Duration::from_secs(3_500));
    assert!(handle.stop().await);
}

#[tokio::test(start_paused = true)]
async fn records_from_a_clock_that_is_ahead_are_in_health_and_metrics() {
    let (database, log, clock) = (Database::memory(), Memory::new(), Clock::wrong_by(0));
    let handle = start(&database, &log, &clock, &Plan::done()).await;
    let service = handle.service("payments").unwrap();
    let ahead = async |by: i64, number: u32| {
        let value = format!(r#"{{"order_id":"a","number":{number}}}"#);
        let id = format!("a-{number}");
        let headers = [("ce_id", &*id), ("ce_source", "shop"), ("ce_type", "Placed")];
        let mut record = record(Some(b"a"), Some(value.as_bytes()), &headers);
        record.timestamp = Timestamp::from_millis(service.clock().now().as_millis() + by).into();
        assert!(log.publish(vec![record]).await[0].is_ok());
        sleep(Duration::from_secs(6)).await;
        (metric(service, "sagas_clock_skew_seconds", "log"), condition(&handle, "clock_skew").await)
    };
    let (skew, detail) = ahead(300_000, 1).await;
    assert!((skew - 300.0).abs() < 1.0, "{skew}");
    assert!(detail.unwrap().contains("the topic orders"));
    assert_eq!(ahead(0, 2).await, (0.0, None));
    assert_eq!(ahead(10 * DAY, 3).await, (0.0, None), "a time that no clock shows is another matter");
    assert!(handle.stop().await);
}
