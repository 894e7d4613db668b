//! A row behind a row whose transaction has not ended in this process waits for it, and the relay is idle meanwhile.

use std::{sync::mpsc::sync_channel, time::Duration};

use sagas::{
    prelude::*,
    testing::{
        Pump,
        faulty::{FaultyStore, StoreFault, StoreFaults},
    },
    time::{Clock, Timestamp},
};
use sagas_tests::eventually;

use crate::support::*;

async fn commit(pump: &Pump, number: u32) {
    let mut work = pump.service("payments").begin().await.unwrap();
    work.publish(&placed("a", number)).unwrap();
    work.commit().await.unwrap();
}

async fn scenario() {
    // The first commit is answered when the clock of its store moves. Its row is in the database earlier, but the relay does not know of it.
    let gate = Clock::manual(Timestamp::from_millis(0));
    let faulty = FaultyStore::new(&Database::memory(), StoreFaults::default(), 1, gate.clone());
    let mut first = true;
    faulty.script(move |call| {
        (call.method == "commit" && std::mem::take(&mut first)).then_some(StoreFault::DelayAnswer(Duration::from_secs(1)))
    });
    let database = faulty.database();
    let pump = Pump::of([Service::new("payments", database.clone())]).try_start(&["orders"]).await.unwrap();
    let store = database.store().clone();
    let left = async || store.outbox("payments", 0, 10).await.unwrap().len();
    tokio::join!(commit(&pump, 1), async {
        eventually("the first is in the database", async || (left().await == 1).then_some(())).await;
        commit(&pump, 2).await;
        // One thread runs everything: if the relay span in a loop, nothing below would run.
        let metrics = tokio::runtime::Handle::current().metrics();
        let rests = metrics.worker_park_count(0);
        eventually("the thread rests", async || (metrics.worker_park_count(0) > rests + 3).then_some(())).await;
        assert_eq!(left().await, 2, "the second waits for the first");
        gate.advance(Duration::from_secs(1));
    });
    settle(&pump, &["payments"]).await;
    let numbers: Vec<_> = pump.published::<Placed>().await.iter().map(|placed| placed.number).collect();
    assert_eq!(numbers, [1, 2]);
    pump.stop().await;
}

#[test]
fn the_relay_rests_behind_an_open_transaction() {
    let (ended, end) = sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(scenario());
        ended.send(()).unwrap();
    });
    end.recv_timeout(Duration::from_secs(30)).expect("the relay rests, and both are sent in order");
}
