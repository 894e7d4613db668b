//! What cannot go on is seen, and an operator can help it on.

use sagas::{runtime::OperationError, saga::InstanceState, store::InstanceQuery};

use crate::shop::{Cancelled, Confirmed, Shop};

const ADA: &str = "ada";

fn wanting_attention() -> InstanceQuery {
    InstanceQuery { attention: true, limit: 10, ..InstanceQuery::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_was_given_up_is_told_and_goes_on_when_it_is_retried() {
    let shop = Shop::open().await;
    shop.conduct.payments_fail(true);
    shop.place(1).await;
    assert_eq!(shop.saga(1).await.attention, None, "it is being tried");
    shop.until_given_up().await;

    let stuck = shop.saga(1).await;
    let attention = stuck.attention.clone().unwrap();
    for told in ["Pay", "payment", "the till is stuck"] {
        assert!(attention.contains(told), "{attention}");
    }
    assert_eq!((stuck.state, stuck.current.as_deref()), (InstanceState::Running, Some("Pay")));
    assert_eq!(shop.sagas().list(&wanting_attention()).await.unwrap().1, 1);
    let health = shop.pump.service("order").health().report().await;
    let health = serde_json::to_value(health).unwrap();
    assert!(health["checks"]["sagas"].to_string().contains('1'), "{health}");

    shop.conduct.payments_fail(false);
    shop.sagas().retry("PlaceOrder", "1", ADA).await.unwrap();
    shop.pump.run_until_quiet().await;
    let ended = shop.saga(1).await;
    assert_eq!((ended.state, ended.attention), (InstanceState::Completed, None));
    assert_eq!(shop.pump.published::<Confirmed>().await, [Confirmed { id: 1 }]);
    let history = shop.history(1).await;
    assert!(history.contains(&("operator.retry".to_owned(), Some("by ada".to_owned()))), "{history:?}");
    assert_eq!(shop.sagas().list(&wanting_attention()).await.unwrap().1, 0);
    shop.pump.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_that_was_given_up_holds_the_end_back_until_it_is_retried() {
    let shop = Shop::open().await;
    shop.conduct.confirmations_wait(true);
    shop.conduct.refunds_fail(true);
    shop.place(1).await;
    assert_eq!(shop.conduct.books(), (1, 1));
    shop.sagas().force_compensate("PlaceOrder", "1", ADA, "the customer called").await.unwrap();
    shop.pump.run_until_quiet().await;
    shop.until_given_up().await;
    let stuck = shop.saga(1).await;
    assert_eq!((stuck.state, stuck.ended_at, stuck.current.as_deref()), (InstanceState::Compensating, None, Some("Pay")));
    assert!(stuck.attention.unwrap().contains("the till is locked"));
    assert_eq!((shop.conduct.books(), stuck.expected_next), ((0, 1), vec!["Refunded".to_owned()]));

    shop.conduct.refunds_fail(false);
    shop.sagas().retry("PlaceOrder", "1", ADA).await.unwrap();
    shop.pump.run_until_quiet().await;
    let ended = shop.saga(1).await;
    assert_eq!((ended.state, ended.attention, ended.not_allowed), (InstanceState::Aborted, None, 0));
    assert_eq!((shop.conduct.books(), ended.ended_at.is_some()), ((0, 0), true));
    assert_eq!(shop.pump.published::<Cancelled>().await, [Cancelled { id: 1 }]);
    let history = shop.history(1).await;
    assert!(history.contains(&("operator.compensate".to_owned(), Some("by ada: the customer called".to_owned()))), "{history:?}");
    shop.pump.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_can_be_declared_settled_and_an_instance_ended_by_hand() {
    let shop = Shop::open().await;
    shop.conduct.payments_fail(true);
    shop.place(1).await;
    shop.until_given_up().await;
    shop.sagas().skip("PlaceOrder", "1", "Pay", ADA, "paid in cash").await.unwrap();
    let skipped = shop.saga(1).await;
    assert_eq!((skipped.attention, skipped.expected_next.is_empty()), (None, true), "nobody waits for the payment");
    shop.sagas().complete("PlaceOrder", "1", ADA, "delivered by hand").await.unwrap();
    let ended = shop.saga(1).await;
    assert!(ended.ended_at.is_some() && ended.deadline.is_none());
    let history = shop.history(1).await;
    for told in [("operator.skip", "Pay, by ada: paid in cash"), ("operator.complete", "by ada: delivered by hand")] {
        assert!(history.contains(&(told.0.to_owned(), Some(told.1.to_owned()))), "{told:?}: {history:?}");
    }
    shop.pump.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_says_why() {
    let shop = Shop::open().await;
    shop.place(1).await;
    shop.conduct.payments_wait(true);
    shop.place(2).await;
    let sagas = shop.sagas();
    let said = |result: Result<(), OperationError>| result.unwrap_err().to_string();
    assert_eq!(said(sagas.retry("Another", "1", ADA).await), "this service tracks no saga `Another`");
    assert_eq!(said(sagas.retry("PlaceOrder", "7", ADA).await), "there is no instance `7` of PlaceOrder");
    let unknown = said(sagas.skip("PlaceOrder", "2", "Payy", ADA, "r").await);
    assert_eq!(unknown, "PlaceOrder has no step `Payy`; its steps are Reserve, Pay, Confirm");
    let ended = said(sagas.complete("PlaceOrder", "1", ADA, "r").await);
    assert!(ended.contains("has ended already: it is COMPLETED"), "{ended}");
    let decided = said(sagas.force_compensate("PlaceOrder", "1", ADA, "r").await);
    assert!(decided.contains("is decided already: it is COMPLETED"), "{decided}");
    shop.pump.stop().await;
}
