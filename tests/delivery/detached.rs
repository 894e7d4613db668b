//! Handlers that call another system before they begin their transaction.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use sagas::{Settings, prelude::*, testing::Pump, transport::memory::Memory};
use tokio::sync::Semaphore;

use crate::support::*;

/// The other system: the keys of running calls, and the keys it was called with. A call waits for the test.
#[derive(Clone)]
struct Gateway {
    go: Arc<Semaphore>,
    calls: Arc<Mutex<Calls>>,
}

#[derive(Default)]
struct Calls {
    inside: HashMap<String, usize>,
    most_inside: usize,
    keys: Vec<String>,
}

impl Gateway {
    fn new(permits: usize) -> Self {
        Self { go: Arc::new(Semaphore::new(permits)), calls: Arc::default() }
    }

    fn inside(&self) -> usize {
        self.calls.lock().unwrap().inside.values().sum()
    }

    async fn call(&self, order_id: &str, key: String) {
        {
            let mut calls = self.calls.lock().unwrap();
            calls.keys.push(key);
            *calls.inside.entry(order_id.to_owned()).or_default() += 1;
            assert_eq!(calls.inside[order_id], 1, "two calls for one key at a time");
            let now = calls.inside.values().sum();
            calls.most_inside = calls.most_inside.max(now);
        }
        let _left = Left(self, order_id);
        self.go.acquire().await.unwrap().forget();
    }
}

/// Removes the running call when it ends, also when a crash ends its handler.
struct Left<'c>(&'c Gateway, &'c str);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        *self.0.calls.lock().unwrap().inside.get_mut(self.1).unwrap() -= 1;
    }
}

#[handler(timeout = "1h")]
async fn pay(
    On(placed): On<Placed>,
    work: Work,
    meta: Meta,
    State(plan): State<Plan>,
    State(gateway): State<Gateway>,
) -> Result<Charged, Failure<Declined>> {
    gateway.call(&placed.order_id, meta.idempotency_key()).await;
    let step = plan.step(&placed, &meta);
    if step == Step::Retry {
        return Err(Failure::retry("planned"));
    }
    let mut tx = work.begin().await?;
    plan.write(&mut tx, &placed).await?;
    Ok(Charged { order_id: placed.order_id, number: placed.number })
}

#[tokio::test]
async fn they_run_side_by_side_up_to_the_bound_and_one_at_a_time_per_key() {
    let mut settings = Settings::default();
    settings.concurrency = 5;
    for database in databases().await {
        let (plan, gateway) = (Plan::done(), Gateway::new(0));
        let service = service(&database, &plan).state(gateway.clone()).handlers(handlers![pay]).settings(settings.clone());
        let pump = Pump::of([service]).start().await;
        for number in 0..40 {
            pump.publish(&placed(&format!("o{}", number % 10), number)).await;
        }
        until("five calls run", || async { gateway.inside() == 5 }).await;
        gateway.go.add_permits(40);
        pump.run_until_quiet().await;
        assert_eq!(gateway.calls.lock().unwrap().most_inside, 5);
        assert_eq!(plan.numbers("o3"), [3, 13, 23, 33]);
        assert_eq!(pump.published::<Charged>().await.len(), 40);
    }
}

#[handler]
async fn never_begins(On(placed): On<Placed>, work: Work) -> Charged {
    drop(work);
    Charged { order_id: placed.order_id, number: placed.number }
}

#[tokio::test]
async fn a_handler_that_never_begins_has_its_transaction_begun_for_it() {
    for database in databases().await {
        let pump = Pump::of([service(&database, &Plan::done()).handlers(handlers![never_begins])]).start().await;
        let twice = record(Some(b"a"), Some(br#"{"order_id":"a","number":1}"#), &[("ce_id", "m1"), ("ce_source", "s")]);
        pump.publish_record(twice.clone()).await;
        pump.publish_record(twice).await;
        pump.run_until_quiet().await;
        assert_eq!(pump.published::<Charged>().await.len(), 1);
    }
}

#[tokio::test]
async fn a_duplicate_that_runs_at_the_same_time_is_found_when_it_begins() {
    for database in databases().await {
        let (plan, gateway) = (Plan::done(), Gateway::new(0));
        let pump = Pump::of([service(&database, &plan).state(gateway.clone()).handlers(handlers![pay])]).start().await;
        // Two keys with the same message id: both are called, and one commits.
        for key in ["a", "b"] {
            let value = format!(r#"{{"order_id":"{key}","number":1}}"#);
            let headers = [("ce_id", "m1"), ("ce_source", "s")];
            pump.publish_record(record(Some(key.as_bytes()), Some(value.as_bytes()), &headers)).await;
        }
        until("both are called", || async { gateway.inside() == 2 }).await;
        gateway.go.add_permits(2);
        pump.run_until_quiet().await;
        assert_eq!(pump.published::<Charged>().await.len(), 1);
        assert_eq!(metric(pump.service("payments"), "sagas_deliveries_total", "outcome=\"duplicate\""), 1.0);
    }
}

#[tokio::test]
async fn the_idempotency_key_is_the_same_at_every_attempt() {
    for database in databases().await {
        let plan = Plan::new(|_, meta| if meta.attempt < 3 { Step::Retry } else { Step::Done });
        let gateway = Gateway::new(100);
        let pump = Pump::of([service(&database, &plan).state(gateway.clone()).handlers(handlers![pay])]).start().await;
        pump.publish(&placed("a", 1)).await;
        pump.publish(&placed("a", 2)).await;
        settle(&pump, &["payments"]).await;
        let keys = gateway.calls.lock().unwrap().keys.clone();
        assert_eq!(keys.len(), 6);
        assert!(keys[..3].iter().all(|key| *key == keys[0]) && keys[3..].iter().all(|key| *key == keys[3]), "{keys:?}");
        assert_ne!(keys[0], keys[3]);
    }
}

#[tokio::test]
async fn a_crash_after_the_call_repeats_it_under_the_same_key() {
    for database in databases().await {
        let (plan, gateway, clock) = (Plan::done(), Gateway::new(0), clock());
        let log = Arc::new(Memory::with_clock(clock.clone()));
        let start = || {
            let service = service(&database, &plan).state(gateway.clone()).handlers(handlers![pay]);
            Pump::of([service]).on(log.clone()).clock(clock.clone()).start()
        };
        let pump = start().await;
        pump.publish(&placed("a", 1)).await;
        until("the call runs", || async { gateway.inside() == 1 }).await;
        drop(pump);
        until("the crash", || async { gateway.inside() == 0 }).await;
        let pump = start().await;
        until("the call runs again", || async { gateway.inside() == 1 }).await;
        gateway.go.add_permits(1);
        pump.run_until_quiet().await;
        let keys = gateway.calls.lock().unwrap().keys.clone();
        assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
        assert_eq!(pump.published::<Charged>().await.len(), 1);
    }
}
