//! The deadline passes while the event that triggers the pivot is being delivered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sagas::saga::InstanceState;

use crate::{
    gated::{Gated, Queue},
    shop::books::Status,
    stage::{Site, Stage},
};

/// The queue in which the event waits until the race begins.
const PAID: Queue = ("order", "payments");
const DEADLINE: Duration = Duration::from_secs(15 * 60);
/// The number of orders that race at the same time, and the number of rounds.
const ORDERS: u64 = 10;
const ROUNDS: u64 = 50;
const STOCK: u64 = 10_000;

async fn wait_a_little(rng: &mut fastrand::Rng) {
    for _ in 0..rng.u32(0..40) {
        tokio::task::yield_now().await;
    }
}

/// One round: orders from `first` on are paid, and their events wait; then everything happens at once. Returns how many orders
/// were confirmed.
async fn race(stage: &Stage, log: &Gated, first: u64, rng: &mut fastrand::Rng) -> u64 {
    log.shut(PAID, log.published(PAID.1));
    let orders = first..first + ORDERS;
    for id in orders.clone() {
        stage.place(id, 1, 30).await;
    }
    stage.pump.run_until_quiet().await;
    assert!(orders.clone().all(|id| stage.books().is_paid(id) && stage.books().status(id) == Some(Status::Reserved)));

    let (gates, clock, books) = (log.clone(), stage.pump.clock().clone(), stage.books().clone());
    let (passed, reached) = (Arc::new(AtomicU64::new(0)), rng.u64(0..ORDERS / 2));
    let (mut one, mut other, counted, decided) = (rng.fork(), rng.fork(), passed.clone(), orders.clone());
    let deliveries = tokio::spawn(async move {
        for at in 1..=ORDERS {
            gates.pass(PAID);
            counted.store(at, Ordering::SeqCst);
            wait_a_little(&mut one).await;
            // Otherwise one transaction would decide them all.
            let ended = || decided.clone().filter(|id| books.status(*id) > Some(Status::Reserved)).count() as u64;
            while ended() < at {
                tokio::task::yield_now().await;
            }
        }
    });
    let deadline = tokio::spawn(async move {
        while passed.load(Ordering::SeqCst) < reached {
            tokio::task::yield_now().await;
        }
        wait_a_little(&mut other).await;
        clock.advance(DEADLINE);
    });
    deliveries.await.unwrap();
    deadline.await.unwrap();
    log.open(PAID);
    stage.pump.run_until_quiet().await;

    let mut confirmed = 0;
    for id in orders {
        stage.books().check_ended(id);
        let won = stage.books().status(id) == Some(Status::Confirmed);
        let instance = stage.instance(id).await;
        let state = if won { InstanceState::Completed } else { InstanceState::Aborted };
        assert_eq!((instance.state, instance.not_allowed, &instance.attention), (state, 0, &None), "{instance:?}");
        assert!(instance.ended_at.is_some(), "{instance:?}");
        confirmed += u64::from(won);
    }
    confirmed
}

async fn races(stage: Stage, log: Gated, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut confirmed = 0;
    for round in 0..ROUNDS {
        confirmed += race(&stage, &log, round * ORDERS, &mut rng).await;
    }
    assert_eq!(u64::from(stage.books().stock()), STOCK - confirmed);
    assert_eq!(stage.dead_letters().await, 0);
    let races = ROUNDS * ORDERS;
    assert!((races / 50..races - races / 50).contains(&confirmed), "no race: {confirmed} of {races} were confirmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_of_500_orders_has_one_outcome_on_stores_in_memory() {
    let log = Gated::new([]);
    races(Site::on(log.clone(), STOCK as u32).open().await, log, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_of_500_orders_has_one_outcome_on_sqlite() {
    let log = Gated::new([]);
    races(Site::on(log.clone(), STOCK as u32).sql().await.open().await, log, 2).await;
}
