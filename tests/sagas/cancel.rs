//! A customer cancels: one commit decides between the cancel, the pivot and another abort.

use sagas::{prelude::*, saga::InstanceState, transport::memory::Memory};

use crate::{
    gated::{Gated, Queue},
    shop::{
        Cancelled, Paid, PlaceOrder,
        books::{Charge, Status},
        conduct::Point,
    },
    stage::{Site, Stage},
};

const PAID: Queue = ("order", "payments");

#[tokio::test]
async fn a_cancel_is_now_and_then_before() {
    let stage = Site::on(Gated::new([PAID]), 10).open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    assert_eq!(stage.cancel(7).await, Aborting::Before);
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.cancel(7).await, Aborting::Before);
    assert_eq!(stage.pump.published::<Cancelled>().await.len(), 1);
    let history = stage.history(7).await;
    let cancelled = history.iter().find(|entry| entry.event == Cancelled::NAME).unwrap();
    assert_eq!(cancelled.causation_id.as_ref(), Some(&history[0].message_id), "what began the order is what led to this");
}

#[tokio::test]
async fn a_cancel_after_a_refusal_is_before() {
    let stage = Site::on(Memory::new(), 10).open().await;
    stage.place(7, 20, 30).await;
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.cancel(7).await, Aborting::Before);
    assert_eq!(stage.pump.published::<Cancelled>().await.len(), 1);
}

#[tokio::test]
async fn a_cancel_after_the_pivot_is_too_late() {
    let stage = Site::on(Memory::new(), 10).open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.cancel(7).await, Aborting::TooLate);
    stage.pump.run_until_quiet().await;
    stage.books().check_ended(7);
    assert_eq!(stage.books().status(7), Some(Status::Confirmed));
}

#[tokio::test]
async fn a_cancel_of_nothing_is_unknown() {
    let stage = Site::on(Memory::new(), 10).open().await;
    assert_eq!(stage.cancel(7).await, Aborting::Unknown);
}

#[tokio::test]
async fn a_cancel_that_is_not_committed_did_not_happen() {
    let stage = Site::on(Gated::new([PAID]), 10).open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    let mut work = stage.pump.service("order").begin().await.unwrap();
    assert_eq!(work.abort::<PlaceOrder>(&7).await.unwrap(), Aborting::Now);
    drop(work);
    assert_eq!(stage.instance(7).await.state, InstanceState::Running);
    assert_eq!(stage.cancel(7).await, Aborting::Now);
}

#[tokio::test]
async fn a_flow_is_cancelled_where_it_is_tracked() {
    let stage = Site::on(Memory::new(), 10).open().await;
    let mut work = stage.pump.service("payment").begin().await.unwrap();
    assert_eq!(
        work.abort::<PlaceOrder>(&7).await.unwrap_err().to_string(),
        "the database refused: PlaceOrder cannot be cancelled here: add `cancel` to its abort's `on`, and \
         `Tracker::of::<PlaceOrder>()` to the service"
    );
}

/// The number of orders that race at the same time, and the number of rounds.
const ORDERS: u64 = 10;
const ROUNDS: u64 = 15;
const STOCK: u32 = 1_000;

/// One round: orders from `first` on are paid, and each is cancelled when the payment is delivered to the order service. Returns
/// how many were confirmed.
async fn race(stage: &Stage, log: &Gated, first: u64, rng: &mut fastrand::Rng) -> u64 {
    log.shut(PAID, log.published(PAID.1));
    for id in first..first + ORDERS {
        stage.place(id, 1, 30).await;
    }
    stage.pump.run_until_quiet().await;
    let mut answers = Vec::new();
    let paid = stage.pump.published::<Paid>().await.into_iter().map(|paid| paid.id);
    for id in paid.filter(|id| *id >= first) {
        let before = stage.shop.conduct.calls(Point::Confirm);
        log.pass(PAID);
        // Half of the cancels happen while the pivot's transaction is open, the others about when it begins.
        let late = rng.bool();
        while late && stage.shop.conduct.calls(Point::Confirm) == before {
            tokio::task::yield_now().await;
        }
        for _ in 0..rng.u32(0..50) {
            tokio::task::yield_now().await;
        }
        answers.push((id, stage.cancel(id).await));
    }
    assert_eq!(answers.len() as u64, ORDERS);
    log.open(PAID);
    stage.pump.run_until_quiet().await;

    for (id, answer) in &answers {
        stage.books().check_ended(*id);
        let outcome = match answer {
            Aborting::Now => (Status::Cancelled, InstanceState::Aborted, Charge::Refunded(30)),
            Aborting::TooLate => (Status::Confirmed, InstanceState::Completed, Charge::Taken(30)),
            other => panic!("order {id}: {other:?}"),
        };
        let instance = stage.instance(*id).await;
        let came_to = (stage.books().status(*id).unwrap(), instance.state, stage.books().charged(*id).unwrap());
        assert_eq!(came_to, outcome, "order {id}");
        assert_eq!((instance.not_allowed, &instance.attention), (0, &None), "{instance:?}");
        assert!(instance.ended_at.is_some(), "{instance:?}");
    }
    answers.iter().filter(|(_, answer)| *answer == Aborting::TooLate).count() as u64
}

async fn races(site: Site, log: Gated, seed: u64) {
    let (stage, mut rng, mut confirmed) = (site.open().await, fastrand::Rng::with_seed(seed), 0);
    for round in 0..ROUNDS {
        confirmed += race(&stage, &log, round * ORDERS, &mut rng).await;
    }
    assert_eq!(u64::from(stage.books().stock()), u64::from(STOCK) - confirmed);
    assert_eq!(stage.dead_letters().await, 0);
    let races = ROUNDS * ORDERS;
    assert!((races / 50..races - races / 50).contains(&confirmed), "no race: {confirmed} of {races} were confirmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cancel_wins_or_loses_each_of_150_races_on_stores_in_memory() {
    let log = Gated::new([]);
    races(Site::on(log.clone(), STOCK), log, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cancel_wins_or_loses_each_of_150_races_on_sqlite() {
    let log = Gated::new([]);
    races(Site::on(log.clone(), STOCK).sql().await, log, 4).await;
}
