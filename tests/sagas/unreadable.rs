//! An instance whose row cannot be decoded, because it is damaged or an older program reads it: it is reported, its messages
//! become dead letters, requests of operators about it are answered, and all other instances continue.

use std::time::Duration;

use sagas::{
    dead_letter::DeadLetterFilter,
    prelude::*,
    saga::{InstanceKey, InstanceState, OperationError},
    testing::Pump,
    transport::memory::Memory,
};
use sagas_tests::{schema::Schema, traces::Gathered};
use serde_json::{Value, json};

use crate::{
    shop::{
        PlaceOrder,
        books::Status,
        conduct::{Act, Point},
    },
    stage::{Site, Stage, metric, until_attention},
};

const SAGA: &str = PlaceOrder::NAME;

/// Replaces the stored body of order 7 with `body`; returns the previous one.
async fn write_body(site: &Site, body: &str) -> String {
    let mut tx = site.order.store().begin().await.unwrap();
    let key = InstanceKey { saga: SAGA.to_owned(), id: "7".to_owned() };
    let mut record = tx.load_instances("order", &[key]).await.unwrap().pop().unwrap();
    let before = std::mem::replace(&mut record.body, body.to_owned());
    tx.save_instances("order", &[record]).await.unwrap();
    tx.commit().await.unwrap();
    before
}

fn condition(stage: &Stage, name: &str) -> f64 {
    metric(stage.pump.service("order"), "sagas_conditions", name)
}

/// Advances the clock until `condition` holds.
async fn in_time(stage: &Stage, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if condition().await {
            return;
        }
        stage.pump.clock().advance(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come to this: {what}");
}

#[tokio::test]
async fn an_instance_that_cannot_be_read_stops_no_other_and_goes_on_when_it_can_be() {
    for site in [Site::on(Memory::new(), 10), Site::on(Memory::new(), 10).sql().await] {
        let stage = site.open().await;
        stage.shop.conduct.set(Point::Reserve, Act::Fail);
        stage.place(7, 2, 30).await;
        stage.pump.run_until_quiet().await;
        let body = write_body(&site, "{").await;
        stage.shop.conduct.clear(Point::Reserve);
        stage.place(8, 1, 10).await;

        let letters = async || stage.pump.service("order").dead_letters(0, 10).await.unwrap().0;
        in_time(&stage, "its messages are given up", async || letters().await.len() >= 3).await;
        for letter in letters().await {
            assert_eq!(letter.received.record.key.as_deref(), Some(&b"7"[..]));
            assert!(letter.error.contains("the instance `7` of PlaceOrder cannot be read"), "{}", letter.error);
        }
        assert_eq!(stage.books().status(8), Some(Status::Confirmed));
        assert_eq!(stage.instance(8).await.state, InstanceState::Completed);
        assert_eq!(condition(&stage, "saga_unreadable"), 1.0);

        let answers = [
            stage.sagas().retry(SAGA, "7", "ada").await,
            stage.sagas().force_compensate(SAGA, "7", "ada", "it hangs").await,
            stage.sagas().complete(SAGA, "7", "ada", "it hangs").await,
        ];
        for answer in answers {
            let Err(OperationError::Conflict(why)) = answer else { panic!("{answer:?}") };
            assert!(why.contains("cannot be read") && why.contains("mend its row in the table sagas_instances"), "{why}");
        }

        write_body(&site, &body).await;
        let order = stage.pump.service("order");
        assert_eq!(order.retry_dead_letters(&DeadLetterFilter::open(), 100).await.unwrap().left, 0);
        in_time(&stage, "it has ended", async || stage.books().status(7) == Some(Status::Confirmed)).await;
        in_time(&stage, "the condition is over", async || condition(&stage, "saga_unreadable") == 0.0).await;
        stage.pump.run_until_quiet().await;
        assert_eq!((stage.books().is_paid(7), stage.books().is_held(7)), (true, true));
        assert_eq!(stage.instance(7).await.state, InstanceState::Completed);
        stage.pump.stop().await;
    }
}

#[tokio::test]
async fn a_deadline_that_cannot_be_carried_out_is_told_and_stops_no_other() {
    for site in [Site::on(Memory::new(), 10), Site::on(Memory::new(), 10).sql().await] {
        let stage = site.open().await;
        stage.shop.conduct.set(Point::Reserve, Act::Fail);
        stage.place(7, 2, 30).await;
        stage.place(8, 1, 10).await;
        stage.pump.run_until_quiet().await;
        let body = write_body(&site, "{").await;
        in_time(&stage, "the other has ended", async || stage.books().status(8) == Some(Status::Cancelled)).await;
        in_time(&stage, "the condition is raised", async || condition(&stage, "deadlines_stuck") == 1.0).await;
        assert_eq!(stage.books().status(7), Some(Status::Created));
        write_body(&site, &body).await;
        in_time(&stage, "it has ended", async || stage.books().status(7) == Some(Status::Cancelled)).await;
        in_time(&stage, "the condition is over", async || condition(&stage, "deadlines_stuck") == 0.0).await;
        stage.pump.stop().await;
    }
}

/// Replaces the stored trace context of order 7 with `trace`.
async fn write_trace(site: &Site, trace: &Value) {
    let mut body: Value = serde_json::from_str(&write_body(site, "{").await).unwrap();
    body["trace"] = trace.clone();
    write_body(site, &body.to_string()).await;
}

/// Checks that an order with `trace` as its stored trace context is tracked, retried and given up by its deadline.
async fn goes_on_with(site: Site, trace: &Value) {
    let gathered = Gathered::default();
    let pump = Pump::of(site.services()).on(site.log.clone()).clock(site.clock.clone()).traces(gathered.traces());
    let stage = Stage { pump: pump.start().await, shop: site.shop.clone() };
    stage.shop.conduct.set(Point::Reserve, Act::Fail);
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    write_trace(&site, trace).await;
    until_attention(&stage, 7).await;
    write_trace(&site, trace).await;
    stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
    stage.pump.run_until_quiet().await;
    write_trace(&site, trace).await;
    stage.pump.advance(Duration::from_secs(15 * 60)).await;
    assert_eq!(stage.books().status(7), Some(Status::Cancelled), "its deadline has given it up: {trace}");
    assert_eq!(condition(&stage, "saga_unreadable"), 0.0, "{trace}");
    stage.pump.stop().await;
    let spans = gathered.spans();
    for begins in ["retry PlaceOrder", "deadline PlaceOrder"] {
        let told = spans.of("order", begins);
        assert!(!told.is_empty() && told.iter().all(|span| span.parent.is_none()), "{trace}: {begins} is of a trace of its own");
    }
}

#[tokio::test]
async fn a_trace_that_cannot_be_read_stops_no_instance() {
    for trace in [json!("nonsense"), json!(7), json!({"traceparent": []})] {
        goes_on_with(Site::on(Memory::new(), 10), &trace).await;
        goes_on_with(Site::on(Memory::new(), 10).sql().await, &trace).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_trace_that_cannot_be_read_stops_no_instance_on_postgres() {
    let schema = Schema::new();
    goes_on_with(Site { order: schema.open().await, ..Site::on(Memory::new(), 10) }, &json!(7)).await;
}
