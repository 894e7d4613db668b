//! Every message is delivered twice, and late: its effects happen once.

use std::sync::Arc;

use sagas::{
    handler::Handler,
    prelude::*,
    testing::{
        Pump,
        faulty::{Faults, Faulty},
    },
    transport::memory::Memory,
};

use crate::support::*;

async fn twice(database: Database, handlers: impl IntoIterator<Item = Handler>, with_rows: bool) {
    let clock = clock();
    let faults = Faults { duplicate: 1.0, ..Faults::default() };
    let log = Arc::new(Faulty::new(Arc::new(Memory::with_clock(clock.clone())), faults, 11, clock.clone()));
    let mut plan = Plan::done();
    if with_rows {
        plan = plan.rows();
    }
    let payments = service(&database, &plan).handlers(handlers);
    let pump = Pump::of([payments]).on(log.clone()).clock(clock).start().await;
    for number in 0..200 {
        pump.publish(&placed(&format!("o{}", number % 7), number)).await;
    }
    pump.run_until_quiet().await;
    until("every second delivery has come", || async { log.held_back() == 0 }).await;
    pump.run_until_quiet().await;
    log.set(Faults::default());
    assert_eq!(pump.published::<Charged>().await.len(), 200);
    for key in 0..7 {
        assert!(plan.numbers(&format!("o{key}")).is_sorted(), "the order of a key");
    }
    if with_rows {
        assert_eq!(rows(&database).await.len(), 200);
    }
    assert!(metric(pump.service("payments"), "sagas_deliveries_total", "outcome=\"duplicate\"") > 0.0);
    pump.stop().await;
}

#[tokio::test]
async fn with_a_held_transaction() {
    twice(Database::memory(), handlers![bare], false).await;
    twice(sqlite().await, handlers![writing], true).await;
    twice(sqlite().await, handlers![refusing], true).await;
}

#[tokio::test]
async fn with_a_transaction_begun_by_the_handler() {
    twice(Database::memory(), handlers![calling], false).await;
    twice(sqlite().await, handlers![calling], true).await;
}
