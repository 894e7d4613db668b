//! An instance that cannot continue, and what an operator does with it.

use std::time::Duration;

use sagas::{
    prelude::*,
    saga::{InstanceQuery, InstanceState, OperationError},
    transport::memory::Memory,
};

use crate::{
    shop::{
        PlaceOrder,
        books::{Charge, Status},
        conduct::{Act, Point},
    },
    stage::{Site, Stage, until_attention},
};

const SAGA: &str = PlaceOrder::NAME;

/// Opens a shop in which order 7 is stuck at `point`, and its tracker knows it.
async fn stuck_at(point: Point) -> Stage {
    let stage = Site::on(Memory::new(), 10).open().await;
    stage.shop.conduct.set(point, Act::Fail);
    stage.place(7, 2, 30).await;
    until_attention(&stage, 7).await;
    stage
}

/// Returns the operations of operators in the history.
async fn audited(stage: &Stage) -> Vec<(String, String)> {
    let history = stage.history(7).await.into_iter().filter(|entry| entry.event.starts_with("operator."));
    history.map(|entry| (entry.event, entry.note.unwrap_or_default())).collect()
}

fn operator(what: &str, note: &str) -> (String, String) {
    (format!("operator.{what}"), note.to_owned())
}

#[tokio::test]
async fn a_step_whose_attempts_have_ended_needs_attention_and_goes_on_when_it_is_retried() {
    let stage = stuck_at(Point::Pay).await;
    let stuck = stage.instance(7).await;
    assert_eq!(stuck.attention.as_deref(), Some("payment gave TakePayment up after 3 attempts: planned at Pay"));
    assert_eq!((stuck.state, stuck.current.as_deref()), (InstanceState::Running, Some("TakePayment")));
    let wanted = InstanceQuery { attention: true, limit: 10, ..InstanceQuery::default() };
    assert_eq!(stage.sagas().list(&wanted).await.unwrap().0, [stuck]);
    assert_eq!(stage.pump.service("payment").dead_letters(0, 1).await.unwrap().1, 1);

    stage.shop.conduct.clear(Point::Pay);
    stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
    stage.pump.run_until_quiet().await;
    stage.books().check_ended(7);
    assert_eq!(stage.books().status(7), Some(Status::Confirmed));
    let instance = stage.instance(7).await;
    assert_eq!((instance.state, instance.attention), (InstanceState::Completed, None));
    assert_eq!(stage.dead_letters().await, 0);
    assert_eq!(audited(&stage).await, [operator("retry", "by ada")]);
}

#[tokio::test]
async fn what_fails_again_needs_attention_again() {
    let stage = stuck_at(Point::Pay).await;
    stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
    assert_eq!(stage.instance(7).await.attention, None);
    until_attention(&stage, 7).await;
    assert_eq!(stage.shop.conduct.calls(Point::Pay), 6);
    stage.shop.conduct.clear(Point::Pay);
    stage.sagas().retry(SAGA, "7", "bob").await.unwrap();
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.books().status(7), Some(Status::Confirmed));
    assert_eq!(audited(&stage).await, [operator("retry", "by ada"), operator("retry", "by bob")]);
}

#[tokio::test]
async fn the_pivot_is_retried_where_the_instance_is_kept() {
    let stage = stuck_at(Point::Confirm).await;
    let reason = "order gave ConfirmOrder up after 3 attempts: planned at Confirm";
    assert_eq!(stage.instance(7).await.attention.as_deref(), Some(reason));
    stage.shop.conduct.clear(Point::Confirm);
    stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
    stage.pump.run_until_quiet().await;
    assert_eq!((stage.books().status(7), stage.dead_letters().await), (Some(Status::Confirmed), 0));
}

#[tokio::test]
async fn a_compensation_that_fails_is_retried_until_everything_is_given_back() {
    let stage = Site::on(Memory::new(), 10).open().await;
    stage.shop.conduct.set(Point::Release, Act::Fail);
    stage.shop.conduct.set(Point::Confirm, Act::Fail);
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    until_attention(&stage, 7).await;
    let stuck = stage.instance(7).await;
    let reason = "inventory gave the compensation of ReserveStock up after 3 attempts: planned at Release";
    assert_eq!(stuck.attention.as_deref(), Some(reason));
    assert_eq!((stuck.state, &stuck.expected_next[..]), (InstanceState::Compensating, &["Released".to_owned()][..]));

    stage.shop.conduct.clear(Point::Release);
    stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
    stage.pump.run_until_quiet().await;
    stage.books().check_ended(7);
    assert_eq!(stage.instance(7).await.state, InstanceState::Aborted);
}

#[tokio::test]
async fn all_that_is_in_the_way_is_retried_in_the_services_that_gave_it_up() {
    let stage = Site::on(Memory::new(), 10).open().await;
    for point in [Point::Release, Point::Refund, Point::Confirm] {
        stage.shop.conduct.set(point, Act::Fail);
    }
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    for _ in 0..5 {
        stage.pump.advance(Duration::from_secs(1)).await;
    }
    assert_eq!(stage.dead_letters().await, 2);
    stage.shop.conduct.clear(Point::Release);
    stage.shop.conduct.clear(Point::Refund);
    stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
    stage.pump.run_until_quiet().await;
    stage.books().check_ended(7);
    let instance = stage.instance(7).await;
    assert_eq!((instance.state, instance.attention), (InstanceState::Aborted, None));
    assert!(instance.ended_at.is_some());
}

#[tokio::test]
async fn what_goes_on_elsewhere_does_not_hide_what_was_given_up() {
    let stage = Site::on(Memory::new(), 10).open().await;
    stage.shop.conduct.set(Point::Release, Act::Fail);
    stage.shop.conduct.set(Point::Refund, Act::Fail);
    stage.shop.conduct.set(Point::Confirm, Act::Fail);
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    for _ in 0..5 {
        stage.pump.advance(Duration::from_secs(1)).await;
    }
    stage.shop.conduct.clear(Point::Refund);
    let payment = stage.pump.service("payment");
    let letter = payment.dead_letters(0, 1).await.unwrap().0.remove(0);
    assert!(payment.retry_dead_letter(&letter.id).await.unwrap());
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.books().charged(7), Some(Charge::Refunded(30)));
    let reason = "inventory gave the compensation of ReserveStock up after 3 attempts: planned at Release";
    assert_eq!(stage.instance(7).await.attention.as_deref(), Some(reason));
}

#[tokio::test]
async fn a_step_that_was_skipped_is_waited_for_no_more() {
    let stage = Site::on(Memory::new(), 10).open().await;
    stage.shop.conduct.set(Point::Release, Act::Fail);
    stage.place(7, 2, 3_000).await;
    until_attention(&stage, 7).await;
    assert_eq!(stage.instance(7).await.state, InstanceState::Running, "nothing was given back, so that nothing is cancelled");
    stage.sagas().force_compensate(SAGA, "7", "ada", "the shelf has burnt").await.unwrap();
    until_attention(&stage, 7).await;
    assert_eq!(stage.instance(7).await.state, InstanceState::Compensating);

    stage.sagas().skip(SAGA, "7", "ReserveStock", "ada", "the goods are gone").await.unwrap();
    let instance = stage.instance(7).await;
    assert_eq!((instance.state, &instance.attention), (InstanceState::Aborted, &None));
    assert!(instance.ended_at.is_some(), "{instance:?}");
    let did =
        [operator("compensate", "by ada: the shelf has burnt"), operator("skip", "ReserveStock, by ada: the goods are gone")];
    assert_eq!(audited(&stage).await, did);
}

#[tokio::test]
async fn a_flow_that_is_given_up_by_hand_is_undone() {
    let stage = stuck_at(Point::Confirm).await;
    assert_eq!(stage.books().charged(7), Some(Charge::Taken(30)));
    stage.sagas().force_compensate(SAGA, "7", "ada", "the customer has moved").await.unwrap();
    stage.pump.run_until_quiet().await;
    stage.books().check_ended(7);
    assert_eq!(stage.books().charged(7), Some(Charge::Refunded(30)));
    assert_eq!(stage.instance(7).await.state, InstanceState::Aborted);
    let cancelled = stage.pump.published::<crate::shop::Cancelled>().await;
    assert_eq!(cancelled[0].reason, "given up by an operator: the customer has moved");
    assert_eq!(audited(&stage).await, [operator("compensate", "by ada: the customer has moved")]);
}

#[tokio::test]
async fn an_instance_that_was_ended_by_hand_stays_ended() {
    let stage = stuck_at(Point::Confirm).await;
    stage.sagas().complete(SAGA, "7", "ada", "settled on the phone").await.unwrap();
    let ended = stage.instance(7).await;
    assert_eq!((ended.state, ended.attention.as_deref(), ended.deadline), (InstanceState::Aborted, None, None));
    assert!(ended.ended_at.is_some() && ended.expected_next.is_empty(), "{ended:?}");
    assert_eq!(audited(&stage).await, [operator("complete", "by ada: settled on the phone")]);

    // An operator who does not know retries the pivot that was stuck.
    stage.shop.conduct.clear(Point::Confirm);
    let order = stage.pump.service("order");
    let letter = order.dead_letters(0, 1).await.unwrap().0.remove(0);
    assert!(order.retry_dead_letter(&letter.id).await.unwrap());
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.books().status(7), Some(Status::Reserved), "what has come to nothing is not confirmed any more");
    assert_eq!(stage.instance(7).await.state, InstanceState::Aborted);
    stage.pump.advance(Duration::from_secs(3_600)).await;
    assert_eq!(stage.instance(7).await.ended_at, ended.ended_at);
}

/// A charge is made, but the answers of the charge and of its refund are lost every time: the tracker has seen no payment.
async fn ended_with_a_compensation_that_was_given_up() -> Stage {
    let stage = Site::on(Memory::new(), 10).open().await;
    stage.shop.conduct.set(Point::Answer, Act::Fail);
    stage.shop.conduct.set(Point::Refund, Act::Fail);
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    assert_eq!((stage.books().charged(7), stage.cancel(7).await), (Some(Charge::Taken(30)), Aborting::Now));
    until_attention(&stage, 7).await;
    let stuck = stage.instance(7).await;
    let reason = "payment gave the compensation of TakePayment up after 3 attempts: planned at Refund";
    assert_eq!((stuck.state, stuck.attention.as_deref()), (InstanceState::Aborted, Some(reason)));
    assert!(stuck.ended_at.is_some(), "{stuck:?}");
    stage
}

#[tokio::test]
async fn a_compensation_that_is_given_up_after_the_end_is_retried_too() {
    let stage = ended_with_a_compensation_that_was_given_up().await;
    stage.shop.conduct.clear(Point::Refund);
    stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
    stage.pump.run_until_quiet().await;
    stage.books().check_ended(7);
    assert_eq!(stage.books().charged(7), Some(Charge::Refunded(30)));
    let instance = stage.instance(7).await;
    assert_eq!((instance.attention.as_deref(), instance.not_allowed), (None, 0));
    assert!(instance.ended_at.is_some() && instance.deadline.is_none(), "{instance:?}");
}

#[tokio::test]
async fn what_is_given_up_after_the_end_can_be_settled_by_hand() {
    let stage = ended_with_a_compensation_that_was_given_up().await;
    stage.sagas().complete(SAGA, "7", "ada", "refunded in the gateway's own books").await.unwrap();
    assert_eq!(stage.instance(7).await.attention, None);
    assert_eq!(audited(&stage).await, [operator("complete", "by ada: refunded in the gateway's own books")]);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let stage = stuck_at(Point::Pay).await;
    let sagas = stage.sagas();
    let said = |result: Result<(), OperationError>| result.unwrap_err().to_string();
    assert_eq!(said(sagas.retry("Ship", "7", "ada").await), "this service tracks no saga `Ship`");
    assert_eq!(said(sagas.complete(SAGA, "8", "ada", "x").await), "there is no instance `8` of PlaceOrder");
    assert_eq!(
        said(sagas.skip(SAGA, "7", "Pay", "ada", "x").await),
        "PlaceOrder has no step `Pay`; its steps are ReserveStock, TakePayment, ConfirmOrder"
    );
    let elsewhere = stage.pump.service("payment").sagas();
    assert_eq!(said(elsewhere.retry(SAGA, "7", "ada").await), "this service tracks no saga `PlaceOrder`");
    assert_eq!(audited(&stage).await, []);
}

#[tokio::test]
async fn it_is_too_late_for_what_is_decided_or_has_ended() {
    let stage = Site::on(Memory::new(), 10).open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    let sagas = stage.sagas();
    let said = |result: Result<(), OperationError>| match result {
        Err(OperationError::Conflict(said)) => said,
        other => panic!("{other:?}"),
    };
    assert_eq!(said(sagas.retry(SAGA, "7", "ada").await), "PlaceOrder 7 has ended: there is nothing to try again");
    assert_eq!(said(sagas.force_compensate(SAGA, "7", "ada", "x").await), "PlaceOrder 7 is decided already: it is COMPLETED");
    assert_eq!(said(sagas.complete(SAGA, "7", "ada", "x").await), "PlaceOrder 7 has ended already: it is COMPLETED");

    stage.shop.conduct.set(Point::Release, Act::Fail);
    stage.shop.conduct.set(Point::Confirm, Act::Fail);
    stage.place(8, 2, 30).await;
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.cancel(8).await, Aborting::Now);
    assert_eq!(said(sagas.force_compensate(SAGA, "8", "ada", "x").await), "PlaceOrder 8 is decided already: it is COMPENSATING");
    assert_eq!(audited(&stage).await, []);
}
