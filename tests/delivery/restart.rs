//! An app stops, and starts again on the data that it left.

use std::{sync::Arc, time::Duration};

use sagas::{prelude::*, testing::Pump, transport::memory::Memory};

use crate::support::*;

#[tokio::test]
async fn parked_messages_are_carried_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("payments.db").display());
    for database in [Database::memory(), Database::open(&file).await.unwrap()] {
        let plan = Plan::new(|placed, meta| if placed.number == 0 && meta.attempt < 3 { Step::Retry } else { Step::Done });
        let clock = clock();
        let log = Arc::new(Memory::with_clock(clock.clone()));
        // Another seed for each start; otherwise the second would use the message ids of the first.
        let start = |seed| {
            let service = service(&database, &plan).handlers(handlers![bare]);
            Pump::of([service]).on(log.clone()).clock(clock.clone()).seed(seed).start()
        };
        let pump = start(1).await;
        for number in 0..3 {
            pump.publish(&placed("a", number)).await;
        }
        pump.run_until_quiet().await;
        drop(pump);
        let pump = start(2).await;
        pump.publish(&placed("a", 3)).await;
        pump.run_until_quiet().await;
        assert_eq!(plan.numbers("a"), [0], "the key is still parked");
        pump.advance(Duration::from_secs(1)).await;
        drop(pump);
        let pump = start(3).await;
        pump.advance(Duration::from_secs(2)).await;
        assert_eq!(plan.numbers("a"), [0, 0, 0, 1, 2, 3]);
        assert_eq!(plan.calls()[2].2, 3, "attempts are counted through a restart");
    }
}

#[tokio::test]
async fn nothing_of_a_dropped_app_is_left() {
    let database = Database::memory();
    let pump = Pump::of([service(&database, &Plan::done()).handlers(handlers![bare])]).start().await;
    pump.publish(&placed("a", 1)).await;
    pump.run_until_quiet().await;
    drop(pump);
    until("the app lets go of its database", || async { Arc::strong_count(database.store()) == 1 }).await;
}

#[tokio::test]
async fn a_file_can_be_opened_by_the_next_app() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("payments.db").display());
    let (plan, clock) = (Plan::done().rows(), clock());
    let log = Arc::new(Memory::with_clock(clock.clone()));
    for round in 0..3 {
        let database = Database::open(&file).await.unwrap();
        let service = service(&database, &plan).handlers(handlers![writing]);
        let pump = Pump::of([service]).on(log.clone()).clock(clock.clone()).seed(round).start().await;
        pump.publish(&placed("a", u32::try_from(round).unwrap())).await;
        pump.run_until_quiet().await;
        assert_eq!(rows(&database).await.len() as u64, round + 1);
        pump.stop().await;
    }
}
