//! Events of a saga that the log rejects: the instance needs attention at once, and continues when they are sent.

use std::{sync::Arc, time::Duration};

use sagas::{
    health::Status,
    message::{Header, Record, headers},
    prelude::*,
    saga::InstanceState,
    testing::faulty::{Faults, Faulty, Refusal},
    transport::memory::Memory,
};

use crate::{
    shop::{
        Paid, PlaceOrder, Reserved,
        books::Status as Order,
        conduct::{Act, Point},
    },
    stage::{Site, Stage, advance_until, clock, until},
};

const SAGA: &str = PlaceOrder::NAME;

/// Creates a site whose log can reject records.
fn site() -> (Site, Arc<Faulty>) {
    let site = Site::on(Memory::new(), 10);
    let log = Arc::new(Faulty::new(site.log.clone(), Faults::default(), 7, clock()));
    (Site { log: log.clone(), ..site }, log)
}

async fn attention(stage: &Stage) -> String {
    stage.instance(7).await.attention.unwrap_or_default()
}

#[tokio::test]
async fn an_event_that_is_refused_where_its_instance_is_kept_calls_for_attention_at_once() {
    for sql in [false, true] {
        let (site, log) = site();
        let site = if sql { site.sql().await } else { site };
        log.refuse("orders", Refusal::LargerThan(100));
        let stage = site.open().await;
        stage.place(7, 2, 30).await;
        stage.pump.run_until_quiet().await;
        let letter = stage.pump.service("order").dead_letters(0, 1).await.unwrap().0.remove(0);
        let said = attention(&stage).await;
        for word in ["order could not publish Created", "the topic takes 100", letter.id.as_str()] {
            assert!(said.contains(word), "{said}");
        }
        let history = stage.history(7).await;
        assert!(history.iter().any(|entry| entry.event == "log.refused" && entry.note.as_deref() == Some(&said)), "{history:?}");

        // The event is rejected again, and then accepted.
        stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
        stage.pump.run_until_quiet().await;
        assert!(attention(&stage).await.contains("order could not publish Created"), "again");
        log.take("orders");
        stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
        stage.pump.run_until_quiet().await;
        let instance = stage.instance(7).await;
        assert_eq!((instance.state, instance.attention), (InstanceState::Completed, None));
        assert_eq!((stage.books().status(7), stage.dead_letters().await), (Some(Order::Confirmed), 0));
    }
}

#[tokio::test]
async fn a_refused_letter_that_is_retried_by_itself_takes_the_attention_away_too() {
    let (site, log) = site();
    log.refuse("orders", Refusal::LargerThan(100));
    let stage = site.open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    log.take("orders");
    let order = stage.pump.service("order");
    let letter = order.dead_letters(0, 1).await.unwrap().0.remove(0);
    assert!(order.retry_dead_letter(&letter.id).await.unwrap());
    stage.pump.run_until_quiet().await;
    assert_eq!((stage.instance(7).await.state, attention(&stage).await), (InstanceState::Completed, String::new()));
}

#[tokio::test]
async fn an_event_that_is_refused_at_a_participant_is_known_where_the_instance_is_kept() {
    let (site, log) = site();
    log.refuse("payments", Refusal::LargerThan(100));
    let stage = site.open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    let said = attention(&stage).await;
    assert!(said.starts_with("payment could not publish Paid: the log refused it: "), "{said}");
    assert_eq!(stage.instance(7).await.state, InstanceState::Running);
    log.take("payments");
    stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
    stage.pump.run_until_quiet().await;
    stage.books().check_ended(7);
    let instance = stage.instance(7).await;
    assert_eq!((instance.state, instance.attention), (InstanceState::Completed, None));
}

#[tokio::test]
async fn a_pivot_and_a_compensation_that_are_refused_call_for_attention() {
    let (site, log) = site();
    let stage = site.open().await;
    stage.shop.conduct.set(Point::Confirm, Act::Fail);
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    log.refuse("stock", Refusal::LargerThan(100));
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    stage.pump.run_until_quiet().await;
    let said = attention(&stage).await;
    assert!(said.starts_with("inventory could not publish Released"), "{said}");
    log.take("stock");
    stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
    // The refund's event is parked behind the payment's, whose handler still fails.
    stage.pump.advance(Duration::from_secs(2)).await;
    let instance = stage.instance(7).await;
    assert_eq!(
        (instance.state, &instance.attention),
        (InstanceState::Aborted, &None),
        "{instance:?}, {:?}",
        stage.history(7).await
    );
}

#[tokio::test]
async fn an_event_that_waits_for_a_lasting_error_calls_for_attention_until_it_has_left() {
    let lasting = [Refusal::Unavailable("the user may not write".to_owned()), Refusal::Unknown];
    for (topic, who) in [("orders", "order waits to publish Created"), ("payments", "payment waits to publish Paid")] {
        for refusal in lasting.clone() {
            let (site, log) = site();
            log.refuse(topic, refusal);
            let stage = site.open().await;
            stage.place(7, 2, 30).await;
            advance_until(stage.pump.clock(), "attention", async || attention(&stage).await.starts_with(who)).await;
            let elapsed = stage.pump.clock().now().since(stage.instance(7).await.started_at);
            assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
            // A retry by an operator does not change that.
            stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
            assert!(attention(&stage).await.starts_with(who), "it still waits");

            log.take(topic);
            advance_until(stage.pump.clock(), "the end", async || stage.instance(7).await.state == InstanceState::Completed)
                .await;
            until("nobody has to look", async || attention(&stage).await.is_empty()).await;
            assert_eq!(stage.dead_letters().await, 0);
        }
    }
}

#[tokio::test]
async fn what_waited_before_a_crash_is_taken_back_after_it() {
    let (site, log) = site();
    log.refuse("orders", Refusal::Unavailable("the user may not write".to_owned()));
    let stage = site.open().await;
    stage.place(7, 2, 30).await;
    advance_until(stage.pump.clock(), "attention", async || !attention(&stage).await.is_empty()).await;
    site.crash(stage).await;

    log.take("orders");
    let stage = site.open().await;
    stage.pump.run_until_quiet().await;
    until("nobody has to look", async || attention(&stage).await.is_empty()).await;
    assert_eq!(stage.instance(7).await.state, InstanceState::Completed);
}

#[tokio::test]
async fn a_message_to_a_tracker_that_is_refused_shows_where_it_was_published() {
    let (site, log) = site();
    log.refuse("test.sagas.attention", Refusal::LargerThan(0));
    let stage = site.open().await;
    stage.shop.conduct.set(Point::Pay, Act::Fail);
    stage.place(7, 2, 30).await;
    for _ in 0..5 {
        stage.pump.advance(Duration::from_secs(1)).await;
    }
    let payment = stage.pump.service("payment");
    let (letters, total) = payment.dead_letters(0, 10).await.unwrap();
    assert_eq!(total, 1, "the message makes no letter of its own: {letters:?}");
    let why = letters[0].unpublished.as_deref().unwrap_or_default();
    assert!(why.contains("the tracker of PlaceOrder 7 was not informed that TakePayment was given up"), "{letters:?}");
    let conditions = payment.health().report().await.checks["conditions"].clone();
    assert_eq!(conditions.status, Status::Degraded);
    assert!(conditions.detail.unwrap_or_default().contains("the tracker of PlaceOrder 7"));
}

#[tokio::test]
async fn a_retry_that_cannot_be_published_calls_for_attention_again() {
    let (site, log) = site();
    let stage = site.open().await;
    stage.shop.conduct.set(Point::Pay, Act::Fail);
    stage.place(7, 2, 30).await;
    crate::stage::until_attention(&stage, 7).await;
    stage.shop.conduct.clear(Point::Pay);
    log.refuse("test.sagas.operations", Refusal::LargerThan(0));
    stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
    stage.pump.run_until_quiet().await;
    let said = attention(&stage).await;
    assert!(said.starts_with("payment was not informed that its dead letter"), "{said}");
    log.take("test.sagas.operations");
    stage.sagas().retry(SAGA, "7", "ada").await.unwrap();
    stage.pump.run_until_quiet().await;
    assert_eq!((stage.instance(7).await.state, attention(&stage).await), (InstanceState::Completed, String::new()));
}

#[tokio::test]
async fn an_event_that_is_given_up_before_its_handler_sees_it_stops_its_flow_visibly() {
    let (site, _) = site();
    let stage = site.open().await;
    stage.shop.conduct.set(Point::Reserve, Act::Fail);
    stage.place(7, 2, 30).await;
    let reserved = Reserved { id: 7, quantity: 2, amount: 30 };
    let newer = Record {
        topic: Reserved::TOPIC.to_owned(),
        key: Some("7".into()),
        value: Some(serde_json::to_vec(&reserved).unwrap().into()),
        headers: vec![
            Header::text(headers::ID, "newer"),
            Header::text(headers::SOURCE, "inventory"),
            Header::text(headers::TYPE, Reserved::NAME),
            Header::text(headers::SCHEMA_VERSION, "9"),
        ],
        timestamp: stage.pump.clock().now().into(),
    };
    stage.pump.publish_record(newer).await;
    stage.pump.run_until_quiet().await;
    let said = attention(&stage).await;
    assert!(said.starts_with("payment gave TakePayment up after 0 attempts: the record has version 9"), "{said}");
    assert!(stage.pump.published::<Paid>().await.is_empty());
}

#[tokio::test]
async fn a_deadline_whose_handler_can_never_succeed_calls_for_attention_at_once() {
    let (site, _) = site();
    let stage = site.open().await;
    stage.shop.conduct.set(Point::Reserve, Act::Fail);
    stage.shop.conduct.set(Point::Overdue, Act::Die);
    stage.place(7, 2, 30).await;
    stage.pump.advance(Duration::from_secs(15 * 60)).await;
    assert_eq!(attention(&stage).await, "the handler of its deadline has failed for good: planned at Overdue");
    assert_eq!(stage.shop.conduct.calls(Point::Overdue), 1);
}
