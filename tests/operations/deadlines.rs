//! Deadlines are kept in the database: they pass whether the service runs or not, and once.

use std::time::Duration;

use sagas::saga::InstanceState;

use sagas_tests::eventually;

use crate::shop::{Cancelled, Shop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_passes_at_its_time_and_once() {
    let shop = Shop::open().await;
    shop.conduct.payments_wait(true);
    shop.place(1).await;
    shop.pump.advance(Duration::from_secs(15 * 60 - 2)).await;
    assert_eq!(shop.saga(1).await.state, InstanceState::Running);
    shop.pump.advance(Duration::from_secs(3)).await;
    assert_eq!(shop.pump.published::<Cancelled>().await, [Cancelled { id: 1 }]);
    shop.pump.advance(Duration::from_secs(2)).await;
    shop.conduct.payments_wait(false);
    shop.pump.advance(Duration::from_secs(3600)).await;
    let ended = shop.saga(1).await;
    assert_eq!((ended.state, ended.not_allowed), (InstanceState::Aborted, 0));
    assert_eq!(shop.pump.published::<Cancelled>().await.len(), 1);
    assert_eq!(shop.conduct.books(), (0, 0));
    shop.pump.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_passed_while_nothing_ran_has_its_effect_at_the_next_start() {
    let shop = Shop::open().await;
    shop.conduct.payments_wait(true);
    shop.place(1).await;
    let shop = shop.reopen_after(Duration::from_secs(10 * 60)).await;
    assert_eq!(shop.saga(1).await.state, InstanceState::Running, "there are five minutes left");
    let shop = shop.reopen_after(Duration::from_secs(10 * 60)).await;
    for _ in 0..3 {
        shop.pump.advance(Duration::from_secs(2)).await;
    }
    assert_eq!(shop.saga(1).await.state, InstanceState::Aborted);
    assert_eq!(shop.pump.published::<Cancelled>().await, [Cancelled { id: 1 }]);
    let history = shop.history(1).await;
    assert_eq!(history.iter().filter(|(event, _)| event == "timer.deadline").count(), 1, "{history:?}");
    let shop = shop.reopen_after(Duration::from_secs(10 * 60)).await;
    assert_eq!(shop.pump.published::<Cancelled>().await.len(), 1, "it has had its effect");
    shop.pump.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_in_time_has_no_deadline() {
    let shop = Shop::open().await;
    shop.place(1).await;
    let ended = shop.saga(1).await;
    assert_eq!((ended.state, ended.deadline), (InstanceState::Completed, None));
    shop.pump.advance(Duration::from_secs(3600)).await;
    assert_eq!(shop.pump.published::<Cancelled>().await, []);
    assert_eq!(shop.saga(1).await, ended);
    shop.pump.stop().await;
}

/// An instance that this program cannot read keeps none of the others from its deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_cannot_be_read_holds_no_other_back() {
    let shop = Shop::open().await;
    shop.conduct.payments_wait(true);
    shop.place(1).await;
    shop.place(2).await;
    let store = shop.databases[0].store();
    let key = sagas::saga::InstanceKey { saga: "PlaceOrder".to_owned(), id: "1".to_owned() };
    let broken = store.sagas().instance("order", &key).await.unwrap().unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.save_instances("order", &[sagas::saga::InstanceRecord { body: "no JSON".to_owned(), ..broken }]).await.unwrap();
    tx.commit().await.unwrap();
    shop.pump.clock().advance(Duration::from_secs(16 * 60));
    eventually("the other is given up", async || {
        let cancelled = shop.pump.published::<Cancelled>().await;
        (cancelled == [Cancelled { id: 2 }]).then_some(())
    })
    .await;
    shop.pump.stop().await;
}
