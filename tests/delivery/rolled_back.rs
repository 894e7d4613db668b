//! An old program runs again, in parallel with the new one or in its place: what the new one has done is known, and what it has
//! not done is kept for its handlers.

use std::time::Duration;

use sagas::{
    Settings,
    dead_letter::DeadLetter,
    id::MessageId,
    message::Record,
    port::store::{InboxKey, Taken},
    prelude::*,
    replay::{ReplayPoint, ReplayRequest},
    testing::Pump,
};

use crate::{changed_handlers::*, support::*};

/// Leaves the state of a program with `handlers` that died after the first of them handled the message, and before any other did.
async fn half_done(database: &Database, handlers: &[&str]) {
    let (topic, event) = ("orders".to_owned(), "Placed".to_owned());
    let handlers = handlers.iter().map(|&handler| handler.to_owned()).collect();
    let store = database.store();
    store.migrate().await.unwrap();
    store.handled().note("payments", &[(topic.clone(), event.clone())], &[]).await.unwrap();
    store.handled().assign("payments", &[Taken { topic, event, also: Vec::new(), handlers }]).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let message = InboxKey { source: "shop".to_owned(), id: MessageId::new("7") };
    assert_eq!(tx.claim("payments", &[message], clock().now()).await.unwrap(), [true]);
    tx.commit().await.unwrap();
}

/// The message of the test.
fn message() -> Record {
    let headers = [("ce_type", "Placed"), ("ce_source", "shop"), ("ce_id", "7")];
    record(Some(b"a"), Some(br#"{"order_id":"a","number":7}"#), &headers)
}

/// The old program turns the message into one dead letter, for the handler of the new program that has not handled it.
async fn is_kept_for_the_other(mut world: World, pump: Pump) {
    pump.publish_record(message()).await;
    assert_eq!(world.heard(&pump).await, []);
    let given_up = letters(&pump).await;
    assert_eq!(given_up.iter().map(DeadLetter::handler).collect::<Vec<_>>(), [Some("c")], "{given_up:?}");
    pump.publish_record(message()).await;
    assert_eq!(world.heard(&pump).await, []);
    assert_eq!(letters(&pump).await, given_up, "it is kept once");
    drop(pump);
    world.settings = Settings::default();
    let pump = world.start(handlers![a, c]).await;
    assert!(pump.service("payments").retry_dead_letter(&given_up[0].id).await.unwrap());
    assert_eq!(world.heard(&pump).await, [("c", 7)]);
    assert_eq!(world.hear_again(&pump).await, []);
    pump.stop().await;
}

#[tokio::test]
async fn what_is_half_done_and_does_not_fit_the_program_of_before_is_kept_for_the_other_handler() {
    for database in databases().await {
        let mut world = World::of(database);
        world.settings.max_record_bytes = 10;
        let pump = world.start(handlers![a]).await;
        // The record that this program also takes the event is written while the other runs.
        half_done(&world.database, &["a", "c"]).await;
        is_kept_for_the_other(world, pump).await;
    }
}

#[tokio::test]
async fn what_is_half_done_and_which_the_program_of_before_does_not_take_is_kept_for_the_other_handler() {
    for database in databases().await {
        let mut world = World::of(database);
        half_done(&world.database, &["a", "c"]).await;
        let pump = world.start(handlers![withdraw]).await;
        is_kept_for_the_other(world, pump).await;
    }
}

#[tokio::test]
async fn what_is_kept_for_all_of_them_is_kept_once() {
    for database in databases().await {
        let mut world = World::of(database);
        world.settings.max_record_bytes = 10;
        let pump = world.start(handlers![a, b, c]).await;
        assert_eq!(world.hear(&pump, &[1]).await, []);
        let given_up = letters(&pump).await;
        assert_eq!(given_up.iter().map(DeadLetter::handler).collect::<Vec<_>>(), [None]);
        // The same record again, not a copy of it.
        let service = pump.service("payments");
        let (partition, offset) = pump.records("orders").await.first().map(|it| (it.partition, it.offset)).unwrap();
        let mut request = ReplayRequest::new("orders", ReplayPoint::Offset(offset));
        request.partition = Some(partition);
        service.replay(&request).await.unwrap();
        advance_until(pump.clock(), "the replay has ended", async || {
            service.replays(false, 10).await.unwrap().iter().all(|replay| !replay.state.is_open())
        })
        .await;
        assert_eq!(letters(&pump).await, given_up);
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_handler_that_was_renamed_is_who_it_was_also_when_the_program_of_before_starts_late() {
    for database in databases().await {
        let mut world = World::of(database);
        let pump = world.start(handlers![a]).await;
        assert_eq!(world.hear(&pump, &[1]).await, [("a", 1)]);
        drop(pump);
        world.ear.fail(&[("c", 3)]);
        let pump = world.start(handlers![c]).await;
        assert_eq!(world.hear(&pump, &[2, 3]).await, [("c", 2), ("c", 3)]);
        drop(pump);
        drop(world.start(handlers![a]).await);
        world.ear.fail(&[]);
        let pump = world.start(handlers![b, c]).await;
        pump.advance(Duration::from_secs(2)).await;
        // The new handler receives what the killed program had not committed to the log, and the rest in a second delivery of
        // everything.
        let (mut new, kept): (Vec<_>, Vec<_>) = world.heard(&pump).await.into_iter().partition(|(handler, _)| *handler == "b");
        assert_eq!(kept, [("c", 3)], "what was kept for it is its own");
        new.extend(world.hear_again(&pump).await);
        new.sort_unstable();
        assert_eq!(new, [("b", 1), ("b", 2), ("b", 3)], "and what it has handled is handled");
        assert_eq!(world.hear_again(&pump).await, []);
        pump.stop().await;
    }
}
