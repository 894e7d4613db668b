//! A database does not commit the effect of a certain message, although it reports that it is healthy, and no commit shows which
//! message is the cause.

use std::sync::Arc;

use sagas::{Settings, handler::Handler, port::transport::Transport, prelude::*, testing::Pump, transport::memory::Memory};

use crate::support::{
    store::{Fault, Faults, failing},
    *,
};

const MESSAGES: u32 = 10;

/// Starts a service with messages of ten keys at once, one of which has an effect that never commits.
async fn one_of_them_poisoned(database: &Database, faults: &Faults, plan: &Plan, handlers: [Handler; 1]) -> Pump {
    let clock = clock();
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let mut settings = Settings::default();
    settings.topic_partitions = 1;
    let inside = failing(database, faults);
    let payments = service(&inside, plan).handlers(handlers).settings(settings);
    let pump = Pump::of([payments]).on(log.clone()).clock(clock).start().await;
    faults.poison("o4");
    let records = (0..MESSAGES).map(|number| {
        let (key, value) = (format!("o{number}"), format!(r#"{{"order_id":"o{number}","number":{number}}}"#));
        record(Some(key.as_bytes()), Some(value.as_bytes()), &[])
    });
    log.publish(records.collect()).await;
    pump
}

#[tokio::test]
async fn a_batch_that_fails_while_the_database_is_well_is_run_one_by_one() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let (faults, plan) = (Faults::default(), Plan::done());
            let pump = one_of_them_poisoned(&database, &faults, &plan, handlers.clone()).await;
            let others = || async { pump.published::<Charged>().await.len() == MESSAGES as usize - 1 };
            advance_until(pump.clock(), "the others are done", others).await;
            // The message is put off, so that it takes no place of others.
            let parked = || async { database.store().parked_keys("payments").await.unwrap().len() == 1 };
            advance_until(pump.clock(), "it waits", parked).await;
            let parked = database.store().parked("payments", "orders", b"o4", 1).await.unwrap();
            assert!(parked[0].error.contains("a fault that the test asked for"), "{}", parked[0].error);
            assert_eq!(parked[0].attempts, 0, "a database that does not commit burns no attempt");
            assert_eq!(pump.service("payments").dead_letters(0, 1).await.unwrap().1, 0);
            faults.clear();
            settle(&pump, &["payments"]).await;
            let mut numbers: Vec<_> = pump.published::<Charged>().await.iter().map(|charged| charged.number).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
            assert!(plan.calls().iter().all(|(.., attempt)| *attempt == 1));
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn a_batch_that_fails_because_the_database_is_down_stays_one() {
    for database in databases().await {
        let (faults, plan) = (Faults::default(), Plan::done());
        let pump = one_of_them_poisoned(&database, &faults, &plan, handlers![bare]).await;
        faults.set(|fault| fault == Fault::Check);
        let often = || async { plan.numbers("o4").len() >= 10 };
        advance_until(pump.clock(), "it has been tried often", often).await;
        let calls = plan.calls().len();
        assert!(calls > 10 * (MESSAGES as usize - 1), "{calls} calls: all were tried together each time");
        assert!(pump.published::<Charged>().await.is_empty());
        faults.clear();
        settle(&pump, &["payments"]).await;
        assert_eq!(pump.published::<Charged>().await.len(), MESSAGES as usize);
        pump.stop().await;
    }
}
