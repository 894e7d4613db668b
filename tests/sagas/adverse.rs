//! Sagas under errors of handlers, of callers, and of other producers on a topic.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sagas::{
    message::{Header, Record},
    prelude::*,
    saga::InstanceState,
    store::Migration,
    testing::Pump,
};
use serde::{Deserialize, Serialize};

macro_rules! events {
    ($topic:literal: $($name:ident)+) => {
        $(
            #[event(topic = $topic, key = id)]
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub struct $name {
                pub id: u64,
            }
        )+
    };
}

events!("orders": Created Confirmed Cancelled);
events!("stock": Reserved Released);
events!("payments": Paid);
events!("refunds": Refunded);

#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m")]
pub enum Place {
    #[step(on = Created, emits = Reserved, undo(on = Cancelled, emits = Released))]
    Reserve,
    #[step(on = Reserved, emits = Paid, undo(on = Cancelled, emits = Refunded))]
    Pay,
    #[step(pivot, on = Paid, emits = Confirmed)]
    Confirm,
    #[abort(on(cancel, deadline), emits = Cancelled)]
    Cancel,
}

const DAY: u64 = 86_400;
/// Instances whose pivot waits for a long time.
const SLOW: u64 = 100;
/// Instances whose reservation cannot be released.
const STUCK: u64 = 200;
/// Instances whose deadline handler makes a write that the database rejects at the commit.
const POISON: u64 = 300;
/// Instances whose pivot is given up, and whose refund is late.
const BLIND: u64 = 500;
/// Instances whose pivot publishes its event with the next instance's key.
const ASTRAY: u64 = 400;

#[handler(step = Place::Reserve)]
async fn reserve(On(created): On<Created>, _tx: Tx) -> Result<Reserved, Failure> {
    Ok(Reserved { id: created.id })
}

#[handler(undo = Place::Reserve)]
async fn release(Undo(held): Undo<Reserved>, _tx: Tx) -> Result<Released, Failure> {
    if held.id == STUCK { Err(Failure::dead("the shelf is gone")) } else { Ok(Released { id: held.id }) }
}

#[handler(step = Place::Pay)]
async fn pay(On(held): On<Reserved>, _tx: Tx) -> Result<Paid, Failure> {
    Ok(Paid { id: held.id })
}

#[derive(Clone, Default)]
struct Asked(Arc<AtomicU32>);

#[handler(undo = Place::Pay)]
async fn refund(Undo(paid): Undo<Paid>, _tx: Tx, State(asked): State<Asked>) -> Result<Refunded, Failure> {
    if paid.id == STUCK && asked.0.fetch_add(1, Ordering::SeqCst) == 0 {
        return Err(Failure::Later(Duration::from_secs(60)));
    }
    if paid.id == BLIND {
        return Err(Failure::Later(Duration::from_secs(3600)));
    }
    Ok(Refunded { id: paid.id })
}

#[handler(step = Place::Confirm)]
async fn confirm(On(paid): On<Paid>, _tx: Tx, meta: Meta) -> Result<Confirmed, Failure> {
    match paid.id {
        SLOW if meta.now.since(meta.envelope.time) > Duration::from_secs(3600) => Ok(Confirmed { id: SLOW }),
        SLOW | STUCK | POISON => Err(Failure::Later(Duration::from_secs(3600))),
        id if id == POISON + 1 => Err(Failure::Later(Duration::from_secs(3600))),
        BLIND => Err(Failure::dead("a bug")),
        ASTRAY => Ok(Confirmed { id: ASTRAY + 1 }),
        id => Ok(Confirmed { id }),
    }
}

/// The instances whose deadline transactions have committed, according to the hooks of the handler.
#[derive(Clone, Default)]
struct Expired(Arc<Mutex<Vec<u64>>>);

#[handler(step = Place::Cancel)]
async fn expire(On(deadline): On<Deadline<Place>>, mut tx: Tx, State(expired): State<Expired>) -> Result<Cancelled, Failure> {
    let id = deadline.key()?;
    tx.after_commit(move || expired.0.lock().unwrap().push(id));
    if id == POISON {
        sqlx::query::<sqlx::Any>("INSERT INTO child (parent) VALUES (1)").execute(&mut tx).await?;
    }
    Ok(Cancelled { id })
}

const TABLES: &[Migration] = &[Migration {
    version: 1,
    name: "a key that is checked at the commit",
    sql: "CREATE TABLE parent (id BIGINT PRIMARY KEY); \
          CREATE TABLE child (parent BIGINT REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);",
}];

async fn pump() -> Pump {
    pump_of(&Expired::default()).await
}

async fn pump_of(expired: &Expired) -> Pump {
    let memory = || async { Database::open("sqlite::memory:").await.unwrap() };
    let order = Service::new("order", memory().await)
        .migrations(TABLES)
        .tracks(Tracker::of::<Place>())
        .state(expired.clone())
        .handlers(handlers![confirm, expire]);
    let stock = Service::new("stock", memory().await).handlers(handlers![reserve, release]);
    let till = Service::new("till", memory().await).state(Asked::default()).handlers(handlers![pay, refund]);
    Pump::of([order, stock, till]).start().await
}

async fn place(pump: &Pump, id: u64) {
    let mut work = pump.service("order").begin().await.unwrap();
    work.publish(&Created { id }).unwrap();
    work.commit().await.unwrap();
    pump.run_until_quiet().await;
}

async fn cancel(pump: &Pump, id: u64) -> Aborting {
    let mut work = pump.service("order").begin().await.unwrap();
    let answer = work.abort::<Place>(&id).await.unwrap();
    if answer == Aborting::Now {
        work.publish(&Cancelled { id }).unwrap();
        work.commit().await.unwrap();
    }
    pump.run_until_quiet().await;
    answer
}

/// Returns the error of the single dead letter of the order service.
async fn dead_letter(pump: &Pump) -> String {
    let (letters, open) = pump.service("order").dead_letters(0, 10).await.unwrap();
    assert_eq!(open, 1, "{letters:?}");
    letters[0].error.clone()
}

async fn view(pump: &Pump, id: u64) -> sagas::saga::InstanceView {
    pump.service("order").sagas().find("Place", &id.to_string()).await.unwrap().unwrap()
}

/// Step records are removed after 14 days like the inbox, instances after 30 days. In between, a cancel must not win against a
/// pivot.
#[tokio::test]
async fn a_cancel_loses_against_a_pivot_however_long_ago() {
    let pump = pump().await;
    place(&pump, 1).await;
    assert_eq!(view(&pump, 1).await.state, InstanceState::Completed);
    assert_eq!(cancel(&pump, 1).await, Aborting::TooLate);
    for _ in 0..4 {
        pump.advance(Duration::from_secs(5 * DAY)).await;
        // Retention runs in parallel.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(view(&pump, 1).await.state, InstanceState::Completed, "it is still there");
    assert_eq!(cancel(&pump, 1).await, Aborting::TooLate);
    assert_eq!(pump.published::<Cancelled>().await, []);
}

/// `abort` returned `Now`, and the caller did not publish the abort event: nothing would move the instance, and no operator would
/// be notified.
#[tokio::test]
async fn an_abort_without_its_event_is_refused() {
    let pump = pump().await;
    place(&pump, SLOW).await;
    let mut work = pump.service("order").begin().await.unwrap();
    assert_eq!(work.abort::<Place>(&SLOW).await.unwrap(), Aborting::Now);
    let refusal = work.commit().await.unwrap_err().to_string();
    assert!(refusal.contains("aborts Place 100, and publishes no Cancelled with the key `100`"), "{refusal}");
    assert_eq!(view(&pump, SLOW).await.state, InstanceState::Running);
}

/// A pivot that publishes with another instance's key.
#[tokio::test]
async fn a_pivot_under_another_key_is_given_up() {
    let pump = pump().await;
    place(&pump, ASTRAY).await;
    let told = "Confirmed is published with the key `401`, and its instance of Place is `400`";
    assert!(dead_letter(&pump).await.contains(told));
    let attention = view(&pump, ASTRAY).await.attention.unwrap();
    assert!(attention.contains(told), "{attention}");
    assert_eq!(pump.published::<Confirmed>().await, []);
}

/// A record whose key is not the key in its value.
#[tokio::test]
async fn a_record_under_another_key_confirms_nobody() {
    let pump = pump().await;
    let headers = [("ce_id", "x"), ("ce_source", "stranger"), ("ce_type", "Paid"), ("ce_specversion", "1.0")];
    let record = Record {
        topic: "payments".to_owned(),
        key: Some(b"8".to_vec().into()),
        value: Some(br#"{"id":7}"#.to_vec().into()),
        headers: headers.map(|(name, value)| Header::text(name, value.to_owned())).into(),
        timestamp: pump.clock().now().into(),
    };
    pump.publish_record(record).await;
    pump.run_until_quiet().await;
    assert_eq!(
        dead_letter(&pump).await,
        "the record's key is `8`, and the key of the Paid in it `7`; it was published by `stranger`"
    );
    place(&pump, 7).await;
    assert_eq!(pump.published::<Confirmed>().await, [Confirmed { id: 7 }]);
}

/// An instance whose deadline cannot be committed delays no other instance, and calls no hook.
#[tokio::test]
async fn a_deadline_that_cannot_be_committed_stops_no_other() {
    let expired = Expired::default();
    let pump = pump_of(&expired).await;
    place(&pump, POISON).await;
    pump.clock().advance(Duration::from_secs(1));
    place(&pump, POISON + 1).await;
    for _ in 0..30 {
        pump.clock().advance(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(pump.published::<Cancelled>().await, [Cancelled { id: POISON + 1 }]);
    assert_eq!(*expired.0.lock().unwrap(), [POISON + 1]);
}

/// Another participant's event must not clear the attention, nor the dead letter that `retry` retries.
#[tokio::test]
async fn what_was_given_up_stays_in_sight() {
    let pump = pump().await;
    place(&pump, STUCK).await;
    assert_eq!(cancel(&pump, STUCK).await, Aborting::Now);
    assert!(view(&pump, STUCK).await.attention.is_some(), "the release was dead-lettered");
    pump.advance(Duration::from_secs(61)).await;
    assert_eq!(pump.published::<Refunded>().await, [Refunded { id: STUCK }]);
    let view = view(&pump, STUCK).await;
    assert!(view.ended_at.is_none());
    assert!(view.attention.is_some(), "its release is still a dead letter: {view:?}");
}

/// An event whose handler here was dead-lettered is not seen by the tracker. The instance must not end before the money is
/// refunded.
#[tokio::test]
async fn an_instance_has_not_ended_while_money_is_kept() {
    let pump = pump().await;
    place(&pump, BLIND).await;
    for _ in 0..5 {
        pump.advance(Duration::from_secs(10 * 60)).await;
    }
    assert_eq!(pump.published::<Cancelled>().await, [Cancelled { id: BLIND }]);
    assert_eq!(pump.published::<Released>().await, [Released { id: BLIND }]);
    assert_eq!(pump.published::<Refunded>().await, []);
    let view = view(&pump, BLIND).await;
    assert_eq!((view.state, view.ended_at), (InstanceState::Compensating, None), "{view:?}");
}

/// An undecided instance that an operator ends is shown as aborted; its pivot must not commit after that.
#[tokio::test]
async fn what_was_ended_by_hand_is_not_confirmed() {
    let pump = pump().await;
    place(&pump, SLOW).await;
    pump.service("order").sagas().complete("Place", &SLOW.to_string(), "ops", "given up").await.unwrap();
    assert_eq!(view(&pump, SLOW).await.state, InstanceState::Aborted);
    // The put-off payment event is delivered now, after the instance has ended.
    pump.advance(Duration::from_secs(3601)).await;
    assert_eq!(pump.published::<Confirmed>().await, [], "it was shown as ABORTED");
}

/// An invalid record with the key of an ended instance: the instance must not need attention.
#[tokio::test]
async fn a_broken_record_after_the_end_is_a_dead_letter_and_no_more() {
    let pump = pump().await;
    place(&pump, 1).await;
    let headers = [("ce_id", "x"), ("ce_source", "stranger"), ("ce_type", "Created"), ("ce_specversion", "1.0")];
    let record = Record {
        topic: "orders".to_owned(),
        key: Some(b"1".to_vec().into()),
        value: Some(b"garbage".to_vec().into()),
        headers: headers.map(|(name, value)| Header::text(name, value.to_owned())).into(),
        timestamp: pump.clock().now().into(),
    };
    pump.publish_record(record).await;
    pump.run_until_quiet().await;
    let letters = pump.service("stock").dead_letters(0, 10).await.unwrap().0;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].error.starts_with("the value is no Created of version 1: "), "{}", letters[0].error);
    assert_eq!(view(&pump, 1).await.attention, None);
}
