//! A compensation that arrives before, during and after its step, and twice; and events that arrive again or too late.

use std::time::Duration;

use sagas::{
    TopicNames,
    id::MessageId,
    message::{Header, Record},
    port::store::InboxKey,
    prelude::*,
    saga::{InstanceKey, StepState},
    transport::memory::Memory,
};

use crate::{
    gated::{Gated, Queue},
    shop::{
        Cancelled, Confirmed, Created, Paid, PlaceOrder, Refunded, Released, Reserved,
        books::{Charge, Status},
        conduct::{Act, Point},
    },
    stage::{Site, Stage, metric, settings, until},
};

const RESERVED: Queue = ("payment", "stock");
const PAID: Queue = ("order", "payments");

/// Returns the state of payment's step record for order 7.
async fn payment_step(site: &Site) -> Option<StepState> {
    let key = InstanceKey { saga: PlaceOrder::NAME.to_owned(), id: "7".to_owned() };
    let steps = site.payment.store().sagas().steps("payment", &key).await.unwrap();
    assert!(steps.iter().all(|step| ["TakePayment", "CancelOrder"].contains(&step.step.as_str())), "{steps:?}");
    steps.into_iter().find(|step| step.step == "TakePayment").map(|step| step.state)
}

/// Returns how many messages had no effect in payment, for this reason.
fn without_effect(stage: &Stage, reason: &str) -> f64 {
    let label = format!("step=\"TakePayment\",reason=\"{reason}\"");
    metric(stage.pump.service("payment"), "sagas_saga_messages_without_effect_total", &label)
}

/// Returns the records of `topic` with this type.
async fn records(stage: &Stage, topic: &str, event: &str) -> Vec<Record> {
    let all = stage.pump.records(topic).await.into_iter().map(|received| (*received.record).clone());
    all.filter(|record| record.header("ce_type") == Some(event)).collect()
}

/// Returns the same record with another message id.
fn under_another_id(mut record: Record) -> Record {
    record.headers.retain(|header| header.name != "ce_id");
    record.headers.push(Header::text("ce_id", "another"));
    record
}

#[tokio::test]
async fn a_step_that_comes_after_its_compensation_is_refused_and_publishes_nothing() {
    let log = Gated::new([RESERVED]);
    let site = Site::on(log.clone(), 10);
    let stage = site.open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    stage.pump.run_until_quiet().await;
    assert_eq!(payment_step(&site).await, Some(StepState::Barred));
    assert_eq!(without_effect(&stage, "nothing_to_undo"), 1.0);

    log.open(RESERVED);
    stage.pump.run_until_quiet().await;
    assert_eq!((stage.shop.conduct.calls(Point::Pay), without_effect(&stage, "late")), (0, 1.0));
    assert_eq!(stage.pump.records("payments").await.len(), 0);
    stage.books().check_ended(7);
}

#[tokio::test]
async fn a_compensation_waits_for_the_attempt_that_runs() {
    let site = Site::on(Memory::new(), 10);
    let stage = site.open().await;
    stage.shop.conduct.set(Point::Answer, Act::Knock);
    stage.place(7, 2, 30).await;
    stage.shop.conduct.knocked().await;
    assert_eq!(payment_step(&site).await, Some(StepState::Begun));
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    until("the goods are back", async || !stage.books().is_held(7)).await;
    assert_eq!((stage.shop.conduct.calls(Point::Refund), stage.books().charged(7)), (0, Some(Charge::Taken(30))));

    stage.shop.conduct.let_in(1);
    stage.pump.run_until_quiet().await;
    assert_eq!(payment_step(&site).await, Some(StepState::Undone));
    assert_eq!((stage.pump.published::<Paid>().await.len(), stage.pump.published::<Refunded>().await.len()), (1, 1));
    stage.books().check_ended(7);
}

#[tokio::test]
async fn a_compensation_waits_for_the_attempt_that_runs_in_another_process() {
    let log = Gated::new([]);
    // Partitions are assigned in the order of their topics' names: with this topic between the other two, each process owns one
    // of those.
    let names = TopicNames::default().with("sagas.operations", "sagas.operations");
    let site = Site { names, ..Site::on(log.clone(), 10) };
    let (stage, second) = (site.open().await, site.open().await);
    let apart = async || log.reader(RESERVED).is_some() && log.reader(RESERVED) != log.reader(("payment", "orders"));
    until("one reads of reservations and the other of cancels", apart).await;
    stage.shop.conduct.set(Point::Answer, Act::Knock);
    stage.place(7, 2, 30).await;
    stage.shop.conduct.knocked().await;
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    let parked = async || site.payment.store().parked("payment", "orders", b"7", 1).await.unwrap().pop();
    until("the compensation is parked", async || parked().await.is_some()).await;
    assert_eq!(parked().await.unwrap().error, "an attempt of the step may be running; waiting for its result");
    assert_eq!(stage.shop.conduct.calls(Point::Refund), 0);

    stage.shop.conduct.let_in(1);
    until("the charge is refunded", async || {
        site.clock.advance(Duration::from_millis(5));
        stage.books().charged(7) == Some(Charge::Refunded(30))
    })
    .await;
    stage.pump.run_until_quiet().await;
    second.pump.run_until_quiet().await;
    stage.books().check_ended(7);
    assert_eq!(stage.pump.published::<Refunded>().await.len(), 1);
}

#[tokio::test]
async fn a_compensation_after_its_step_gives_back_what_the_step_left_behind() {
    let log = Gated::new([PAID]);
    let site = Site::on(log.clone(), 10);
    let stage = site.open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    assert_eq!(payment_step(&site).await, Some(StepState::Done));
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    log.open(PAID);
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.pump.published::<Refunded>().await, [Refunded { id: 7, amount: 30 }]);
    assert_eq!(payment_step(&site).await, Some(StepState::Undone));
    stage.books().check_ended(7);
}

#[tokio::test]
async fn a_compensation_that_is_called_for_twice_happens_once() {
    let log = Gated::new([PAID]);
    let stage = Site::on(log.clone(), 10).open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    let cancelled = records(&stage, "orders", Cancelled::NAME).await.remove(0);
    stage.pump.publish_record(under_another_id(cancelled.clone())).await;
    stage.pump.publish_record(cancelled).await;
    log.open(PAID);
    stage.pump.run_until_quiet().await;
    assert_eq!((stage.pump.published::<Released>().await.len(), stage.pump.published::<Refunded>().await.len()), (1, 1));
    assert_eq!(without_effect(&stage, "again"), 1.0, "that which came under the same identity is known without the barrier");
    stage.books().check_ended(7);
}

#[tokio::test]
async fn a_second_event_under_another_identity_has_no_effect() {
    let stage = Site::on(Memory::new(), 10).open().await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    let again = [("orders", Created::NAME), ("stock", Reserved::NAME), ("payments", Paid::NAME)];
    for (topic, event) in again {
        let record = records(&stage, topic, event).await.remove(0);
        stage.pump.publish_record(under_another_id(record)).await;
        stage.pump.run_until_quiet().await;
    }
    for (topic, event) in again.into_iter().chain([("orders", Confirmed::NAME)]) {
        let expected = if event == Confirmed::NAME { 1 } else { 2 };
        assert_eq!(records(&stage, topic, event).await.len(), expected, "{event}");
    }
    for point in [Point::Reserve, Point::Pay, Point::Confirm] {
        assert_eq!(stage.shop.conduct.calls(point), 1, "{point:?}");
    }
    stage.books().check_ended(7);
    assert_eq!(stage.books().status(7), Some(Status::Confirmed));
}

/// The process dies at `point`, during the call to the gateway; after its restart, the cancel is delivered first.
async fn cut_off(site: Site, log: Gated, point: Point) -> Stage {
    let stage = site.open().await;
    stage.shop.conduct.set(point, Act::Hang);
    stage.place(7, 2, 30).await;
    until("the gateway is asked", async || site.shop.conduct.calls(point) == 1).await;
    assert_eq!(payment_step(&site).await, Some(StepState::Begun));
    site.crash(stage).await;
    site.clock.advance(Duration::from_millis(1));
    site.shop.conduct.clear(point);
    log.shut(RESERVED, 0);

    let stage = site.open().await;
    assert_eq!(stage.cancel(7).await, Aborting::Now);
    stage.pump.run_until_quiet().await;
    assert_eq!((site.shop.conduct.calls(Point::Refund), payment_step(&site).await), (1, Some(StepState::Undone)));
    log.open(RESERVED);
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.pump.published::<Paid>().await, [], "the result of the attempt is unknown");
    stage.books().check_ended(7);
    stage
}

#[tokio::test]
async fn the_compensation_of_an_attempt_that_was_cut_off_finds_out_what_came_of_it() {
    for sql in [false, true] {
        let log = Gated::new([]);
        let site = Site::on(log.clone(), 10);
        let site = if sql { site.sql().await } else { site };
        let stage = cut_off(site, log, Point::Answer).await;
        assert_eq!(stage.books().charged(7), Some(Charge::Refunded(30)));
        assert_eq!(stage.pump.published::<Refunded>().await, [Refunded { id: 7, amount: 30 }]);
        assert_eq!(stage.shop.conduct.calls(Point::Pay), 1, "it is not attempted again");
    }
}

#[tokio::test]
async fn the_compensation_of_an_attempt_that_had_no_effect_keeps_it_from_having_one() {
    let log = Gated::new([]);
    let stage = cut_off(Site::on(log.clone(), 10), log, Point::Pay).await;
    assert_eq!(stage.books().charged(7), Some(Charge::Void));
    assert_eq!(stage.pump.published::<Refunded>().await, []);
}

#[tokio::test]
async fn an_attempt_that_was_cut_off_is_made_again() {
    let site = Site::on(Gated::new([]), 10);
    let stage = site.open().await;
    stage.shop.conduct.set(Point::Answer, Act::Hang);
    stage.place(7, 2, 30).await;
    until("the gateway is asked", async || site.shop.conduct.calls(Point::Answer) == 1).await;
    site.crash(stage).await;
    site.clock.advance(Duration::from_millis(1));
    site.shop.conduct.clear(Point::Answer);
    let stage = site.open().await;
    stage.pump.run_until_quiet().await;
    assert_eq!((stage.shop.conduct.calls(Point::Pay), stage.books().status(7)), (2, Some(Status::Confirmed)));
    stage.books().check_ended(7);
}

#[tokio::test]
async fn what_was_done_is_known_for_longer_than_which_messages_came() {
    const DAY: Duration = Duration::from_secs(86_400);
    let site = Site::on(Memory::new(), 10);
    let mut settings = settings();
    settings.inbox_retention_days = 1;
    let stage = site.open_with(site.services().map(|service| service.settings(settings.clone()))).await;
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    let reserved = records(&stage, "stock", Reserved::NAME).await.remove(0);
    let id = MessageId::new(reserved.header("ce_id").unwrap());
    let key = [InboxKey { source: "inventory".to_owned(), id }];
    assert_eq!(site.payment.store().seen("payment", &key).await.unwrap(), [true]);

    stage.pump.advance(DAY + Duration::from_secs(20 * 60)).await;
    until("the inbox is forgotten", async || site.payment.store().seen("payment", &key).await.unwrap() == [false]).await;
    stage.pump.publish_record(reserved).await;
    stage.pump.run_until_quiet().await;
    assert_eq!((stage.shop.conduct.calls(Point::Pay), without_effect(&stage, "again")), (1, 1.0));
    assert_eq!(stage.pump.published::<Paid>().await.len(), 1);

    stage.pump.advance(32 * DAY).await;
    until("the steps are forgotten too", async || payment_step(&site).await.is_none()).await;
}
