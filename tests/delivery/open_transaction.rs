//! A row behind a row whose transaction has not ended in this process waits for it, and the relay is idle meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
    time::Duration,
};

use sagas::{prelude::*, testing::Pump};
use sagas_tests::eventually;
use tokio::sync::Semaphore;

use crate::support::{
    store::{Faults, slow_to_answer},
    *,
};

async fn commit(pump: &Pump, number: u32) {
    let mut work = pump.service("payments").begin().await.unwrap();
    work.publish(&placed("a", number)).unwrap();
    work.commit().await.unwrap();
}

async fn scenario() {
    // The first commit is answered when the gate opens. Its row is in the database earlier, but the relay does not know of it.
    let (gate, first) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(true)));
    let database = slow_to_answer(&Database::memory(), &Faults::default(), {
        let gate = gate.clone();
        move || {
            let (gate, first) = (gate.clone(), first.swap(false, Ordering::SeqCst));
            async move {
                if first {
                    gate.acquire().await.unwrap().forget();
                }
            }
        }
    });
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
        gate.add_permits(1);
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
