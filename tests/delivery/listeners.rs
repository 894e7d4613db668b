//! Several handlers of one event in one service: each has a delivery of its own, in the order in which the handlers were
//! registered.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sagas::{
    dead_letter::{DeadLetter, DeadLetterState},
    handler::Handler,
    message::headers,
    port::store::ParkedMessage,
    prelude::*,
    replay::{ReplayPoint, ReplayRequest},
    testing::Pump,
    transport::memory::Memory,
};

use crate::support::*;

/// Which handler handled what, and at which numbers the second fails or is given up.
#[derive(Clone, Default)]
pub struct Ear(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    heard: Vec<(&'static str, u32)>,
    failing: Vec<(&'static str, u32)>,
}

impl Ear {
    pub fn hear(&self, name: &'static str, placed: &Placed) -> Result<(), Failure> {
        let mut inner = self.0.lock().unwrap();
        inner.heard.push((name, placed.number));
        match inner.failing.contains(&(name, placed.number)) {
            true => Err(Failure::retry("planned")),
            false => Ok(()),
        }
    }

    pub fn fail(&self, failing: &[(&'static str, u32)]) {
        self.0.lock().unwrap().failing = failing.to_vec();
    }

    pub fn heard(&self) -> Vec<(&'static str, u32)> {
        std::mem::take(&mut self.0.lock().unwrap().heard)
    }
}

#[handler(retry(max = 3, backoff = "1s..1s"))]
async fn first(On(placed): On<Placed>, State(ear): State<Ear>) -> Result<(), Failure> {
    ear.hear("first", &placed)
}

#[handler(retry(max = 3, backoff = "1s..1s"))]
async fn second(On(placed): On<Placed>, mut tx: Tx, State(ear): State<Ear>) -> Result<Charged, Failure> {
    ear.hear("second", &placed)?;
    let charged = Charged { order_id: placed.order_id, number: placed.number };
    tx.publish(&Declined { order_id: charged.order_id.clone(), number: charged.number })?;
    Ok(charged)
}

/// Calls another system.
#[handler(retry(max = 3, backoff = "1s..1s"))]
async fn third(On(placed): On<Placed>, work: Work, State(ear): State<Ear>) -> Result<(), Failure> {
    ear.hear("third", &placed)?;
    work.begin().await?;
    Ok(())
}

#[handler]
async fn all(Batch(batch): Batch<Placed>, State(ear): State<Ear>) -> Result<(), Failure> {
    for (placed, _) in &batch {
        ear.hear("all", placed)?;
    }
    Ok(())
}

fn listening(database: &Database, ear: &Ear, handlers: impl IntoIterator<Item = Handler>) -> Service {
    service(database, &Plan::done()).state(ear.clone()).handlers(handlers)
}

#[tokio::test]
async fn each_hears_everything_in_order() {
    for database in databases().await {
        let ear = Ear::default();
        let pump = Pump::of([listening(&database, &ear, handlers![first, second, third, all])]).start().await;
        pump.publish(&placed("a", 1)).await;
        pump.publish(&placed("a", 2)).await;
        pump.run_until_quiet().await;
        let expected = [1, 2].into_iter().flat_map(|number| ["first", "second", "third", "all"].map(|name| (name, number)));
        assert_eq!(ear.heard(), expected.collect::<Vec<_>>());
        assert_eq!(pump.published::<Charged>().await.len(), 2);
        assert_eq!(metric(pump.service("payments"), "sagas_deliveries_total", "outcome=\"done\""), 8.0);
        let lag = pump.service("payments").database().store().parked_keys("payments").await.unwrap();
        assert_eq!(lag, []);
        pump.stop().await;
    }
}

#[tokio::test]
async fn one_is_retried_without_the_others_which_keep_their_order() {
    for database in databases().await {
        let ear = Ear::default();
        let pump = Pump::of([listening(&database, &ear, handlers![first, second, third])]).start().await;
        ear.fail(&[("second", 1)]);
        pump.publish(&placed("a", 1)).await;
        pump.publish(&placed("a", 2)).await;
        pump.publish(&placed("b", 3)).await;
        pump.run_until_quiet().await;
        let mut heard = ear.heard();
        heard.sort_by_key(|(_, number)| *number);
        assert_eq!(heard, [("first", 1), ("second", 1), ("first", 3), ("second", 3), ("third", 3)]);
        let parked = database.store().parked("payments", "orders", b"a", 10).await.unwrap();
        let whose = |message: &ParkedMessage| message.received.record.header(headers::HANDLER).map(str::to_owned);
        let whose: Vec<_> = parked.iter().filter_map(whose).collect();
        assert_eq!(whose, ["second", "third", "first", "second", "third"]);
        ear.fail(&[]);
        pump.advance(Duration::from_secs(2)).await;
        assert_eq!(ear.heard(), [("second", 1), ("third", 1), ("first", 2), ("second", 2), ("third", 2)]);
        assert_eq!(pump.published::<Charged>().await.len(), 3);
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_dead_letter_is_of_one_of_them() {
    for database in databases().await {
        let ear = Ear::default();
        let pump = Pump::of([listening(&database, &ear, handlers![first, second, third])]).start().await;
        ear.fail(&[("first", 1), ("third", 1)]);
        pump.publish(&placed("a", 1)).await;
        for _ in 0..6 {
            pump.advance(Duration::from_secs(1)).await;
        }
        let once = |name| std::iter::repeat_n((name, 1), 3);
        let expected: Vec<_> = once("first").chain([("second", 1)]).chain(once("third")).collect();
        assert_eq!(ear.heard(), expected);
        let service = pump.service("payments");
        let (letters, _) = service.dead_letters(0, 10).await.unwrap();
        let whose: Vec<_> = letters.iter().map(DeadLetter::handler).collect();
        assert_eq!(whose, [Some("third"), Some("first")], "newest first");
        ear.fail(&[]);
        assert!(service.retry_dead_letter(&letters[0].id).await.unwrap());
        pump.run_until_quiet().await;
        assert_eq!(ear.heard(), [("third", 1)]);
        // A copy, produced again from the dead letter topic: the handler that has handled the message does nothing, and the one
        // that gave it up handles it.
        let mut copy = (*pump.records("payments.dlt").await[0].record).clone();
        assert_eq!(copy.header(headers::HANDLER), Some("first"));
        copy.topic = "orders".to_owned();
        pump.publish_record(copy).await;
        pump.run_until_quiet().await;
        assert_eq!(ear.heard(), [("first", 1)]);
        let (letters, open) = service.dead_letters(0, 10).await.unwrap();
        assert_eq!((letters.len(), open), (0, 0));
        assert_eq!(metric(service, "sagas_dead_letters_settled_total", "how=\"replayed\""), 1.0);
        pump.stop().await;
    }
}

#[tokio::test]
async fn what_comes_again_is_known_to_each() {
    for database in databases().await {
        let (ear, clock) = (Ear::default(), clock());
        let log = Arc::new(Memory::with_clock(clock.clone()));
        let start = |seed, handlers: Vec<Handler>| {
            Pump::of([listening(&database, &ear, handlers)]).on(log.clone()).clock(clock.clone()).seed(seed).start()
        };
        // One handler alone, and then another in addition.
        let pump = start(1, handlers![first].to_vec()).await;
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        assert_eq!(ear.heard(), [("first", 1)]);
        drop(pump);
        let pump = start(2, handlers![first, second].to_vec()).await;
        pump.publish(&placed("a", 2)).await;
        pump.run_until_quiet().await;
        assert_eq!(ear.heard(), [("first", 2), ("second", 2)]);
        let copies: Vec<_> = pump.records("orders").await.into_iter().map(|received| (*received.record).clone()).collect();
        for copy in copies {
            pump.publish_record(copy).await;
        }
        pump.run_until_quiet().await;
        assert_eq!(ear.heard(), [("second", 1)], "it did not hear the first when that came");
        drop(pump);
        let pump = start(3, handlers![first, second].to_vec()).await;
        pump.run_until_quiet().await;
        assert_eq!(ear.heard(), [], "all of it was committed");
        pump.stop().await;
    }
}

#[tokio::test]
async fn an_operator_has_all_of_them_hear_it_again() {
    for database in databases().await {
        let ear = Ear::default();
        let pump = Pump::of([listening(&database, &ear, handlers![first, second, third])]).start().await;
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        assert_eq!(ear.heard().len(), 3);
        let service = pump.service("payments");
        let (partition, offset) = pump.records("orders").await.first().map(|it| (it.partition, it.offset)).unwrap();
        let mut request = ReplayRequest::new("orders", ReplayPoint::Offset(offset));
        (request.partition, request.again) = (Some(partition), true);
        service.replay(&request).await.unwrap();
        let clock = pump.clock();
        advance_until(clock, "the replay has ended", async || {
            service.replays(false, 10).await.unwrap().iter().all(|replay| !replay.state.is_open())
        })
        .await;
        assert_eq!(ear.heard(), [("first", 1), ("second", 1), ("third", 1)]);
        pump.stop().await;
    }
}

#[tokio::test]
async fn what_is_parked_for_one_keeps_the_others_from_nothing() {
    for database in databases().await {
        let ear = Ear::default();
        let pump = Pump::of([listening(&database, &ear, handlers![first, second, third])]).start().await;
        ear.fail(&[("second", 1)]);
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        assert_eq!(ear.heard(), [("first", 1), ("second", 1)]);
        ear.fail(&[]);
        let service = pump.service("payments");
        let (partition, offset) = pump.records("orders").await.first().map(|it| (it.partition, it.offset)).unwrap();
        let mut request = ReplayRequest::new("orders", ReplayPoint::Offset(offset));
        (request.partition, request.again) = (Some(partition), true);
        service.replay(&request).await.unwrap();
        advance_until(pump.clock(), "the replay has ended", async || {
            service.replays(false, 10).await.unwrap().iter().all(|replay| !replay.state.is_open())
        })
        .await;
        // Parked messages wait until the end of the replay is known here too; the database knows it first.
        let mut heard = ear.heard();
        for _ in 0..60 {
            if heard.len() < 3 {
                pump.advance(Duration::from_secs(1)).await;
                heard.extend(ear.heard());
            }
        }
        // The first handler had handled the message and does so again; the others had not, and handle it once.
        heard.sort_unstable();
        assert_eq!(heard, [("first", 1), ("second", 1), ("third", 1)]);
        pump.stop().await;
    }
}

#[tokio::test]
async fn what_was_kept_for_a_handler_that_is_gone_is_a_dead_letter() {
    for database in databases().await {
        let (ear, clock) = (Ear::default(), clock());
        let log = Arc::new(Memory::with_clock(clock.clone()));
        let start = |seed, handlers: Vec<Handler>| {
            Pump::of([listening(&database, &ear, handlers)]).on(log.clone()).clock(clock.clone()).seed(seed).start()
        };
        let pump = start(1, handlers![first, second].to_vec()).await;
        ear.fail(&[("second", 1)]);
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        drop(pump);
        ear.fail(&[]);
        ear.heard();
        let pump = start(2, handlers![first, third].to_vec()).await;
        pump.advance(Duration::from_secs(2)).await;
        assert_eq!(ear.heard(), []);
        let (letters, _) = pump.service("payments").dead_letters(0, 10).await.unwrap();
        assert!(letters[0].error.contains("it was kept for the handler `second`"), "{letters:?}");
        drop(pump);
        let pump = start(3, handlers![second].to_vec()).await;
        assert!(pump.service("payments").retry_dead_letter(&letters[0].id).await.unwrap());
        pump.run_until_quiet().await;
        assert_eq!(ear.heard(), [("second", 1)]);
        let letter = pump.service("payments").dead_letter(&letters[0].id).await.unwrap().unwrap();
        assert_eq!(letter.state, DeadLetterState::Retried);
        pump.stop().await;
    }
}
