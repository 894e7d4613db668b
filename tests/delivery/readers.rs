//! An exhausted pool of read connections is reported and waited for, and the service continues afterwards.

use std::{sync::Arc, time::Duration};

use sagas::{
    health::Status,
    port::store::Store,
    prelude::*,
    store::{
        StoreError,
        sqlite::{SqliteOptions, SqliteStore},
    },
    testing::Pump,
};

use crate::support::*;

const BUSY: &str = "all 2 connections for reading are in use";

#[tokio::test]
async fn when_every_connection_for_reading_is_in_use_work_waits_and_health_says_so() {
    let options = SqliteOptions::private().readers(2).begin_timeout(Duration::from_millis(100));
    let database = Database::new(Arc::new(SqliteStore::open(options).await.unwrap()) as Arc<dyn Store>);
    let plan = Plan::done().rows();
    // A handler that calls another system reads the inbox first, with a read connection.
    let pump = Pump::of([service(&database, &plan).handlers(handlers![calling])]).start().await;
    let health = pump.service("payments").health().clone();
    assert_eq!(health.ready().await.status, Status::Up);

    let held = [database.reader().await.unwrap(), database.reader().await.unwrap()];
    let error = database.reader().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains(BUSY)), "{error}");
    // Callers share the result of a check for a second.
    until("health has looked again", async || health.ready().await.status == Status::Down).await;
    let report = health.ready().await;
    let detail = report.checks["database"].detail.clone().unwrap_or_default();
    assert!(detail.contains(BUSY) && detail.contains("SqliteOptions::readers"), "{detail}");

    for number in 0..10 {
        pump.publish(&placed(&format!("o{number}"), number)).await;
    }
    let failures = || async { metric(pump.service("payments"), "sagas_store_failures_total", "") >= 10.0 };
    advance_until(pump.clock(), "they have found no connection", failures).await;
    assert!(plan.calls().is_empty(), "none was begun");

    drop(held);
    advance_until(pump.clock(), "all are done", || async { plan.calls().len() == 10 }).await;
    until("it is ready by itself", async || health.ready().await.status == Status::Up).await;
    settle(&pump, &["payments"]).await;
    assert!(plan.calls().iter().all(|(.., attempt)| *attempt == 1), "no attempt was burnt");
    assert_eq!((rows(&database).await.len(), pump.published::<Charged>().await.len()), (10, 10));
    assert_eq!(pump.service("payments").dead_letters(0, 1).await.unwrap().1, 0);
    pump.stop().await;
}
