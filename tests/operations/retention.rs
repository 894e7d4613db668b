//! What is over is forgotten, and not before it may be.

use std::time::Duration;

use sagas::{saga::InstanceKey, store::InstanceQuery};

use sagas_tests::eventually;

use crate::shop::Shop;

const DAY: Duration = Duration::from_secs(86_400);

async fn instances(shop: &Shop) -> u64 {
    shop.sagas().list(&InstanceQuery { limit: 10, ..InstanceQuery::default() }).await.unwrap().1
}

/// Steps that the payment service remembers of an order.
async fn steps(shop: &Shop, id: u64) -> usize {
    let key = InstanceKey { saga: "PlaceOrder".to_owned(), id: id.to_string() };
    shop.databases[2].store().sagas().steps("payment", &key).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_kept_for_its_time_after_its_end_and_an_open_one_for_ever() {
    let shop = Shop::open().await;
    shop.place(1).await;
    // Paid, given up by its deadline, and never refunded.
    shop.conduct.refunds_fail(true);
    shop.conduct.confirmations_wait(true);
    shop.place(2).await;
    shop.pump.advance(Duration::from_secs(3600)).await;
    shop.until_given_up().await;
    let stuck = shop.saga(2).await;
    assert_eq!((stuck.ended_at, stuck.attention.is_some()), (None, true), "{stuck:?}");
    shop.pump.advance(DAY).await;
    assert_eq!(instances(&shop).await, 2);
    shop.pump.advance(3 * DAY).await;
    shop.pump.advance(DAY).await;
    eventually("the one that has ended is forgotten", async || {
        // The one who forgets may have been at work while the time passed.
        shop.pump.advance(Duration::from_secs(600)).await;
        (instances(&shop).await == 1).then_some(())
    })
    .await;
    assert!(shop.sagas().find("PlaceOrder", "1").await.unwrap().is_none());
    assert!(shop.history(1).await.is_empty(), "its history goes with it");
    shop.pump.stop().await;
}

/// A compensation that comes late must find the step: the inbox forgets after a day, and the step is kept a month longer, and twice the
/// flow's deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_remembered_longer_than_its_message() {
    let shop = Shop::open().await;
    shop.place(1).await;
    assert_eq!(steps(&shop, 1).await, 1);
    shop.pump.advance(31 * DAY).await;
    assert_eq!(steps(&shop, 1).await, 1, "the inbox has forgotten, and the step is kept");
    shop.pump.advance(Duration::from_secs(3600)).await;
    eventually("the step is forgotten", async || {
        shop.pump.advance(Duration::from_secs(600)).await;
        (steps(&shop, 1).await == 0).then_some(())
    })
    .await;
    shop.pump.stop().await;
}
