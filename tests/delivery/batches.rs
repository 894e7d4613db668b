//! Handlers that take a batch.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sagas::{prelude::*, testing::Pump};

use crate::support::*;

#[derive(Clone, Default)]
struct Sizes(Arc<Mutex<Vec<usize>>>);

#[handler(retry(max = 3, backoff = "1s..4s"))]
async fn project(
    Batch(batch): Batch<Placed>,
    mut tx: Tx,
    State(plan): State<Plan>,
    State(sizes): State<Sizes>,
) -> Result<Vec<Charged>, Failure<Declined>> {
    sizes.0.lock().unwrap().push(batch.len());
    let mut charged = Vec::new();
    for (placed, meta) in &batch {
        plan.write(&mut tx, placed).await?;
        match plan.step(placed, meta) {
            Step::Done => charged.push(Charged { order_id: placed.order_id.clone(), number: placed.number }),
            Step::Reject => return Err(Failure::Reject(declined(placed.clone()))),
            _ => return Err(Failure::retry("planned")),
        }
    }
    Ok(charged)
}

/// Publishes 60 messages of 6 keys before the service reads them.
async fn run(plan: Plan) -> (Database, Sizes, Pump) {
    let (database, sizes) = (sqlite().await, Sizes::default());
    let log = Arc::new(sagas::transport::memory::Memory::with_clock(clock()));
    let first = Pump::of([Service::new("nobody", Database::memory())]).on(log.clone()).try_start(&["orders"]).await.unwrap();
    for number in 0..60 {
        first.publish(&placed(&format!("o{}", number % 6), number)).await;
    }
    first.stop().await;
    let service = service(&database, &plan).state(sizes.clone()).handlers(handlers![project]);
    let pump = Pump::of([service]).on(log).start().await;
    pump.run_until_quiet().await;
    (database, sizes, pump)
}

#[tokio::test]
async fn what_waits_is_one_call() {
    let plan = Plan::done().rows();
    let (database, sizes, pump) = run(plan.clone()).await;
    let calls = sizes.0.lock().unwrap().clone();
    assert!(calls.len() < 20 && calls.iter().sum::<usize>() == 60, "{calls:?}");
    assert_eq!(rows(&database).await.len(), 60);
    assert_eq!(pump.published::<Charged>().await.len(), 60);
    for key in 0..6 {
        assert!(plan.numbers(&format!("o{key}")).is_sorted());
    }
}

#[tokio::test]
async fn a_refusal_concerns_one_message() {
    let plan = Plan::new(|placed, _| if placed.number % 10 == 3 { Step::Reject } else { Step::Done }).rows();
    let (database, _, pump) = run(plan).await;
    assert_eq!(rows(&database).await.len(), 54);
    assert_eq!(pump.published::<Charged>().await.len(), 54);
    let mut refused: Vec<_> = pump.published::<Declined>().await.iter().map(|declined| declined.number).collect();
    refused.sort_unstable();
    assert_eq!(refused, [3, 13, 23, 33, 43, 53]);
}

#[tokio::test]
async fn a_retry_concerns_one_key_and_keeps_its_order() {
    let plan = Plan::new(|placed, meta| if placed.number == 12 && meta.attempt == 1 { Step::Retry } else { Step::Done }).rows();
    let (database, _, pump) = run(plan).await;
    // Number 12 is the third of the ten messages of its key.
    assert_eq!(rows(&database).await.len(), 52);
    pump.advance(Duration::from_secs(1)).await;
    assert_eq!(rows(&database).await.len(), 60);
    let of_key: Vec<_> = pump.published::<Charged>().await.into_iter().filter(|charged| charged.order_id == "o0").collect();
    assert_eq!(of_key.iter().map(|charged| charged.number).collect::<Vec<_>>(), [0, 6, 12, 18, 24, 30, 36, 42, 48, 54]);
}

#[tokio::test]
async fn an_undecodable_one_spoils_no_batch() {
    let plan = Plan::done().rows();
    let (database, _, pump) = run(plan).await;
    pump.publish_record(record(Some(b"o1"), Some(b"nonsense"), &[])).await;
    pump.publish(&placed("o1", 60)).await;
    pump.run_until_quiet().await;
    assert_eq!(rows(&database).await.len(), 61);
    assert_eq!(pump.service("payments").dead_letters(0, 10).await.unwrap().1, 1);
}

#[tokio::test]
async fn messages_of_a_flow_in_a_batch_leave_no_steps_for_a_batch_claims_none() {
    let (database, plan) = (Database::memory(), Plan::done());
    let pump = Pump::of([service(&database, &plan).state(Sizes::default()).handlers(handlers![project])]).start().await;
    for number in 0..20 {
        let (value, id) = (format!(r#"{{"order_id":"a","number":{number}}}"#), format!("m{number}"));
        pump.publish_record(record(Some(b"a"), Some(value.as_bytes()), &[("ce_id", &id), ("ce_sagaid", "saga")])).await;
    }
    pump.run_until_quiet().await;
    assert_eq!(plan.calls().len(), 20);
    assert_eq!(kept_of_sagas(&database, "payments").await, 0);
}
