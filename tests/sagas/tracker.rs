//! What the tracker knows of each instance, and when it acts.

use std::time::Duration;

use sagas::{
    handler::Handler,
    message::{Event, headers},
    prelude::*,
    saga::{InstanceKey, InstanceOrder, InstanceQuery, InstanceRecord, InstanceState},
    time::Timestamp,
    transport::memory::Memory,
};

use crate::{
    gated::{Gated, Queue},
    shop::{
        Cancelled, Declined, PlaceOrder, Refunded, Reserved,
        books::Status,
        conduct::{Act, Point},
        order,
    },
    stage::{Site, Stage, metric, settings, until, until_attention},
};

const SECOND: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(15 * 60);
const DAY: Duration = Duration::from_secs(86_400);

/// Returns the tracker's view of an instance: state, step, and expected events.
async fn place_of(stage: &Stage, id: u64) -> (InstanceState, Option<String>, Vec<String>) {
    let instance = stage.instance(id).await;
    (instance.state, instance.current, instance.expected_next)
}

fn place(state: InstanceState, current: Option<&str>, expected: &[&str]) -> (InstanceState, Option<String>, Vec<String>) {
    (state, current.map(str::to_owned), expected.iter().map(|event| (*event).to_owned()).collect())
}

/// Returns the history of an instance: events and notes.
async fn told(stage: &Stage, id: u64) -> Vec<(String, Option<String>)> {
    stage.history(id).await.into_iter().map(|entry| (entry.event, entry.note)).collect()
}

#[tokio::test]
async fn the_tracker_says_what_is_expected_at_each_point_and_tells_what_led_to_what() {
    let queues: [Queue; 4] = [("inventory", "orders"), ("order", "stock"), ("payment", "stock"), ("order", "payments")];
    let log = Gated::new(queues);
    let site = Site::on(log.clone(), 10);
    let stage = site.open().await;
    let began = site.clock.now();
    stage.place(7, 2, 30).await;
    let reserve = place(InstanceState::Running, Some("ReserveStock"), &["Reserved", "Insufficient"]);
    let pay = place(InstanceState::Running, Some("TakePayment"), &["Paid", "Declined"]);
    let ended = place(InstanceState::Completed, None, &[]);
    assert_eq!(place_of(&stage, 7).await, reserve);
    for (queue, then) in queues.into_iter().zip([&reserve, &pay, &pay, &ended]) {
        site.clock.advance(SECOND);
        log.pass(queue);
        stage.pump.run_until_quiet().await;
        assert_eq!(place_of(&stage, 7).await, *then, "after {queue:?}");
    }

    let at = |seconds: u32| began.after(SECOND * seconds);
    let instance = stage.instance(7).await;
    let done: Vec<_> = instance.done.iter().map(|done| (done.step.as_str(), done.event.as_str(), done.at)).collect();
    let expected = [("ReserveStock", "Reserved", at(1)), ("TakePayment", "Paid", at(3)), ("ConfirmOrder", "Confirmed", at(4))];
    assert_eq!(done, expected);
    assert_eq!((instance.started_at, instance.updated_at, instance.ended_at), (began, at(4), Some(at(4))));
    assert_eq!((instance.deadline, instance.not_allowed, instance.version), (None, 0, 1));

    let history = stage.history(7).await;
    let told: Vec<_> =
        history.iter().map(|entry| (entry.event.as_str(), entry.source.as_str(), entry.at, entry.seen_at)).collect();
    let expected = [
        ("Created", "order", at(0), at(0)),
        ("Reserved", "inventory", at(1), at(2)),
        ("Paid", "payment", at(3), at(4)),
        ("Confirmed", "order", at(4), at(4)),
    ];
    assert_eq!(told, expected);
    assert!(history.iter().all(|entry| entry.note.is_none() && !entry.message_id.is_empty()), "{history:#?}");
    let mut before = None;
    for entry in history {
        assert_eq!(entry.causation_id, before, "{}", entry.event);
        before = Some(entry.message_id);
    }
}

#[tokio::test]
async fn an_event_that_the_flow_does_not_allow_is_flagged_and_moves_nothing() {
    let log = Gated::new([("inventory", "payments"), ("payment", "stock")]);
    let stage = Site::on(log.clone(), 10).open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    let published = stage.history(7).await[1].message_id.clone();
    let before = stage.instance(7).await;
    let again = stage.pump.publish(&Reserved { id: 7, quantity: 9, amount: 9 }).await;
    stage.pump.run_until_quiet().await;
    let after = stage.instance(7).await;
    assert_eq!(
        (after.not_allowed, after.state, &after.done, after.updated_at),
        (1, before.state, &before.done, before.updated_at)
    );
    let entry = stage.history(7).await.pop().unwrap();
    assert_eq!((entry.event.as_str(), entry.message_id, entry.source.as_str()), ("Reserved", again, "test"));
    assert_eq!(entry.note, Some(format!("not allowed: Reserved was published before, as {published}")));

    log.pass(("payment", "stock"));
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.instance(7).await.state, InstanceState::Completed);
    stage.pump.publish(&Declined { id: 7 }).await;
    stage.pump.run_until_quiet().await;
    let ended = stage.instance(7).await;
    assert_eq!((ended.not_allowed, ended.state), (2, InstanceState::Completed));
    let note = "not allowed: Declined contradicts Paid, which was published before".to_owned();
    assert_eq!(told(&stage, 7).await.pop(), Some(("Declined".to_owned(), Some(note))));
    let counted = metric(stage.pump.service("order"), "sagas_saga_events_not_allowed_total", "saga=\"PlaceOrder\"");
    assert_eq!(counted, 2.0);
}

#[tokio::test]
async fn an_event_of_an_instance_that_was_not_begun_here_is_counted_and_begins_none() {
    let stage = Site::on(Gated::new([("payment", "stock")]), 10).open().await;
    stage.pump.publish(&Reserved { id: 7, quantity: 2, amount: 30 }).await;
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.sagas().find(PlaceOrder::NAME, "7").await.unwrap(), None);
    let order = stage.pump.service("order");
    assert_eq!(metric(order, "sagas_saga_events_of_unknown_instances_total", "saga=\"PlaceOrder\""), 1.0);
}

#[tokio::test]
async fn instances_are_found_by_state_and_age_in_pages() {
    let site = Site::on(Memory::new(), 10);
    let stage = site.open().await;
    let mut times: Vec<Timestamp> = Vec::new();
    stage.shop.conduct.set(Point::Confirm, Act::Fail);
    // 1 to 3 wait for their pivot, 4 is refused, 5 and 6 are confirmed.
    for id in 1..=6 {
        site.clock.advance(SECOND / 10);
        times.push(site.clock.now());
        if id == 5 {
            stage.shop.conduct.clear(Point::Confirm);
        }
        stage.place(id, if id == 4 { 20 } else { 1 }, 30).await;
        stage.pump.run_until_quiet().await;
    }
    let ids = async |query: InstanceQuery| {
        let (page, total) = stage.sagas().list(&InstanceQuery { limit: query.limit.max(1), ..query }).await.unwrap();
        (page.into_iter().map(|instance| instance.saga_id.parse().unwrap()).collect::<Vec<u64>>(), total)
    };
    let all = || InstanceQuery { limit: 10, ..InstanceQuery::default() };
    assert_eq!(ids(all()).await, (vec![6, 5, 4, 3, 2, 1], 6));
    assert_eq!(ids(InstanceQuery { state: Some(InstanceState::Completed), ..all() }).await, (vec![6, 5], 2));
    assert_eq!(ids(InstanceQuery { state: Some(InstanceState::Aborted), ..all() }).await, (vec![4], 1));
    assert_eq!(ids(InstanceQuery { open: true, order: InstanceOrder::Stalest, ..all() }).await, (vec![1, 2, 3], 3));
    assert_eq!(ids(InstanceQuery { idle_since: Some(times[1]), ..all() }).await, (vec![1], 1));
    assert_eq!(ids(InstanceQuery { attention: true, ..all() }).await, (vec![], 0));
    assert_eq!(ids(InstanceQuery { saga: Some("Ship".to_owned()), ..all() }).await, (vec![], 0));
    for (offset, page) in [(0, vec![6, 5, 4, 3]), (4, vec![2, 1]), (6, vec![])] {
        assert_eq!(ids(InstanceQuery { offset, limit: 4, ..all() }).await, (page, 6));
    }
}

#[tokio::test]
async fn instances_are_forgotten_a_while_after_their_end_and_not_before() {
    let site = Site::on(Memory::new(), 10);
    let [_, inventory, payment] = site.services();
    let tracker = Tracker::of::<PlaceOrder>().retention(2 * DAY);
    let order = order::tracking(&site.order, &site.shop, tracker).settings(settings());
    let stage = site.open_with([order, inventory, payment]).await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    // It fails, and then waits for an operator.
    stage.shop.conduct.set(Point::Overdue, Act::Fail);
    stage.shop.conduct.set(Point::Pay, Act::Fail);
    stage.place(8, 2, 30).await;
    stage.pump.advance(DAY).await;
    assert_eq!(stage.history(7).await.len(), 4);
    stage.pump.advance(DAY + SECOND).await;
    until("the order that has ended is forgotten", async || stage.sagas().find(PlaceOrder::NAME, "7").await.unwrap().is_none())
        .await;
    assert_eq!(stage.history(7).await, []);
    assert!(!stage.history(8).await.is_empty());
}

#[tokio::test]
async fn a_deadline_outlives_its_process_and_passes_once() {
    for sql in [false, true] {
        for down in [false, true] {
            let site = Site::on(Gated::new([("payment", "stock")]), 10);
            let site = if sql { site.sql().await } else { site };
            let stage = site.open().await;
            let deadline = site.clock.now().after(DEADLINE);
            stage.place(7, 2, 30).await;
            stage.pump.run_until_quiet().await;
            assert_eq!(stage.instance(7).await.deadline, Some(deadline));
            site.crash(stage).await;
            site.clock.advance(if down { DEADLINE } else { SECOND });

            let stage = site.open().await;
            stage.pump.run_until_quiet().await;
            if !down {
                assert_eq!((stage.books().status(7), stage.instance(7).await.deadline), (Some(Status::Reserved), Some(deadline)));
                stage.pump.advance(DEADLINE - SECOND).await;
            }
            assert_eq!(stage.books().status(7), Some(Status::Cancelled));
            stage.pump.advance(2 * DEADLINE).await;
            let cancelled = stage.pump.published::<Cancelled>().await;
            assert_eq!(cancelled, [Cancelled { id: 7, reason: "the deadline has passed".to_owned() }]);
            let timers = told(&stage, 7).await.into_iter().filter(|(event, _)| event.starts_with("timer."));
            let fired = ("timer.deadline".to_owned(), Some("the deadline has passed".to_owned()));
            assert_eq!(timers.collect::<Vec<_>>(), [fired]);
            stage.books().check_ended(7);
        }
    }
}

#[tokio::test]
async fn a_deadline_whose_handler_fails_is_tried_again_and_then_needs_attention() {
    let stage = Site::on(Gated::new([("payment", "stock")]), 10).open().await;
    stage.shop.conduct.set(Point::Overdue, Act::Fail);
    stage.place(7, 2, 30).await;
    stage.pump.advance(DEADLINE).await;
    assert_eq!((stage.shop.conduct.calls(Point::Overdue), stage.instance(7).await.attention), (1, None));
    for _ in 0..20 {
        stage.pump.advance(Duration::from_secs(30)).await;
    }
    assert_eq!(stage.shop.conduct.calls(Point::Overdue), 10);
    let reason = "the handler of its deadline has failed 10 times: planned at Overdue";
    assert_eq!(stage.instance(7).await.attention.as_deref(), Some(reason));

    stage.shop.conduct.clear(Point::Overdue);
    stage.sagas().retry(PlaceOrder::NAME, "7", "ada").await.unwrap();
    stage.pump.advance(DEADLINE).await;
    stage.books().check_ended(7);
    assert_eq!(stage.instance(7).await.state, InstanceState::Aborted);
}

#[tokio::test]
async fn an_instance_that_cannot_be_read_is_shown_and_keeps_no_other_from_its_deadline() {
    let site = Site::on(Gated::new([("payment", "stock")]), 10);
    let stage = site.open().await;
    stage.place(7, 2, 30).await;
    stage.place(8, 2, 30).await;
    stage.pump.run_until_quiet().await;
    let key = InstanceKey { saga: PlaceOrder::NAME.to_owned(), id: "7".to_owned() };
    let store = site.order.store();
    let record = store.sagas().instance("order", &key).await.unwrap().unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.save_instances("order", &[InstanceRecord { body: "no JSON".to_owned(), ..record }]).await.unwrap();
    tx.commit().await.unwrap();
    let all = InstanceQuery { limit: 10, ..InstanceQuery::default() };
    let listed = stage.sagas().list(&all).await.unwrap().0;
    let attention: Vec<_> = listed.iter().map(|view| (view.saga_id.as_str(), view.attention.as_deref())).collect();
    let unreadable = "it cannot be read, was it written by a newer program? expected ident at line 1 column 2";
    assert_eq!(attention, [("7", Some(unreadable)), ("8", None)]);
    assert_eq!(stage.instance(7).await, listed[0]);

    // A shop with a due timer is never idle, so only the clock is advanced here.
    let given_up = async |id: u64| {
        site.clock.advance(SECOND);
        stage.books().status(id) == Some(Status::Cancelled)
    };
    site.clock.advance(DEADLINE);
    until("the other is given up", async || given_up(8).await).await;
    stage.place(9, 2, 30).await;
    site.clock.advance(DEADLINE);
    until("one that is due later is given up too", async || given_up(9).await).await;
    assert_ne!(stage.books().status(7), Some(Status::Cancelled));
}

#[tokio::test]
async fn what_does_not_follow_a_decision_in_time_needs_attention() {
    let log = Gated::new([("payment", "stock")]);
    let stage = Site::on(log.clone(), 10).open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    log.shut(("inventory", "orders"), 1);
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    stage.pump.advance(DEADLINE).await;
    let instance = stage.instance(7).await;
    let reason = "it was decided, and these events did not come in time: Released";
    assert_eq!((instance.state, instance.attention.as_deref()), (InstanceState::Compensating, Some(reason)));
    log.open(("inventory", "orders"));
    stage.pump.run_until_quiet().await;
    let instance = stage.instance(7).await;
    assert_eq!((instance.state, instance.attention), (InstanceState::Aborted, None));
}

#[tokio::test]
async fn an_operator_sees_in_the_metrics_and_the_health_that_somebody_has_to_look() {
    let stage = Site::on(Memory::new(), 10).open().await;
    let needing = async |count: f64| {
        stage.pump.clock().advance(SECOND);
        metric(stage.pump.service("order"), "sagas_saga_instances_needing_attention", "saga=\"PlaceOrder\"") == count
    };
    stage.shop.conduct.set(Point::Pay, Act::Fail);
    stage.place(7, 2, 30).await;
    until_attention(&stage, 7).await;
    until("the instance is counted", async || needing(1.0).await).await;
    stage.shop.conduct.clear(Point::Pay);
    stage.sagas().retry(PlaceOrder::NAME, "7", "ada").await.unwrap();
    stage.pump.run_until_quiet().await;
    until("it is not counted any more", async || needing(0.0).await).await;
    let series = stage.pump.service("order").metrics().render();
    for name in ["sagas_saga_events_not_allowed_total", "sagas_saga_events_of_unknown_instances_total"] {
        assert!(series.contains(&format!("{name}{{")), "{name}");
    }
}

/// Not a part of the saga, and never done.
#[handler(retry(max = 9, backoff = "1s..1s"))]
async fn write_off(On(_): On<Declined>) -> Result<(), Failure> {
    Err(Failure::retry("not now"))
}

/// Not a part of the saga either.
#[handler]
async fn tell_of_refund(On(_): On<Refunded>) -> Result<(), Failure> {
    Err(Failure::dead("it is not for this one"))
}

#[tokio::test]
async fn the_tracker_has_nothing_that_was_kept_for_a_handler_nor_a_handler_what_was_kept_for_the_tracker() {
    for site in [Site::on(Memory::new(), 10), Site::on(Memory::new(), 10).sql().await] {
        let service = |handlers: Vec<Handler>| [order::service(&site.order, &site.shop).handlers(handlers).settings(settings())];
        let stage = site.open_with(service(handlers![write_off].to_vec())).await;
        stage.pump.publish(&Declined { id: 7 }).await;
        stage.pump.publish(&Refunded { id: 7, amount: 30 }).await;
        stage.pump.run_until_quiet().await;
        let parked = site.order.store().parked("order", Declined::TOPIC, b"7", 10).await.unwrap();
        let whose: Vec<_> = parked.iter().map(|message| message.received.record.header(headers::HANDLER).unwrap()).collect();
        assert_eq!(whose, ["write_off", "sagas::track"]);
        site.crash(stage).await;
        let stage = site.open_with(service(handlers![tell_of_refund].to_vec())).await;
        stage.pump.advance(2 * SECOND).await;
        let (letters, _) = stage.pump.service("order").dead_letters(0, 10).await.unwrap();
        let given_up: Vec<_> = letters.iter().map(|letter| (letter.handler().unwrap(), &*letter.error)).collect();
        let [(track, of_track), (gone, of_gone)] = given_up[..] else { panic!("{given_up:?}") };
        assert_eq!((track, gone), ("sagas::track", "write_off"));
        assert!(of_track.contains("kept for the handler `sagas::track`"), "{of_track}");
        assert!(of_gone.contains("kept for the handler `write_off`"), "{of_gone}");
        stage.pump.stop().await;
    }
}
