//! A service handles a range of a topic again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sagas::{
    App, Handle, Settings,
    port::transport::Transport,
    prelude::*,
    replay::{Replay, ReplayError, ReplayPoint, ReplayRequest, ReplayState},
    testing::{
        Pump,
        faulty::{Faults, Faulty},
    },
    time::Clock,
    transport::memory::Memory,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::support::*;

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.topic_partitions = 1;
    settings
}

fn from(offset: i64) -> ReplayRequest {
    let mut request = ReplayRequest::new("orders", ReplayPoint::Offset(offset));
    (request.reason, request.by) = ("the handler was wrong".to_owned(), "ada".to_owned());
    request
}

fn again(offset: i64) -> ReplayRequest {
    ReplayRequest { again: true, ..from(offset) }
}

/// Starts a service that has handled orders a and b, numbers 0 to 4 of each.
async fn handled(database: &Database, plan: &Plan, handlers: impl IntoIterator<Item = sagas::handler::Handler>) -> Pump {
    let pump = Pump::of([service(database, plan).handlers(handlers).settings(settings())]).start().await;
    for number in 0..5 {
        pump.publish(&placed("a", number)).await;
        pump.publish(&placed("b", number)).await;
    }
    pump.run_until_quiet().await;
    pump
}

async fn replays(pump: &Pump) -> Vec<Replay> {
    pump.service("payments").replays(false, 10).await.unwrap()
}

async fn until_ended(pump: &Pump, state: ReplayState) -> Replay {
    until("the replay has ended", async || replays(pump).await.iter().all(|replay| !replay.state.is_open())).await;
    pump.run_until_quiet().await;
    let replay = replays(pump).await.remove(0);
    assert_eq!(replay.state, state, "{replay:?}");
    replay
}

#[tokio::test]
async fn what_the_inbox_knows_has_no_effect() {
    for way in 0..3 {
        for database in databases().await {
            let plan = Plan::done();
            let handlers = [handlers![bare], handlers![writing], handlers![calling]].into_iter().nth(way).unwrap();
            let pump = handled(&database, &plan, handlers).await;
            let before = plan.calls().len();
            let planned = pump.service("payments").replay(&from(0)).await.unwrap();
            assert_eq!((planned[0].from, planned[0].to, planned[0].records()), (0, 10, 10));
            let replay = until_ended(&pump, ReplayState::Done).await;
            assert_eq!((replay.applied, replay.resume), (Some(10), Some(10)), "the partition stands where it stood");
            assert_eq!(plan.calls().len(), before, "nothing is handled twice");
            pump.publish(&placed("c", 9)).await;
            pump.run_until_quiet().await;
            assert_eq!(plan.numbers("c"), [9], "and it goes on");
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn what_was_handled_is_handled_again_in_the_order_of_its_key() {
    for database in databases().await {
        let plan = Plan::done();
        let pump = handled(&database, &plan, handlers![writing]).await;
        pump.publish(&placed("a", 5)).await;
        pump.run_until_quiet().await;
        // Offsets 2 to 9 are the numbers 1 to 4 of both.
        let request = ReplayRequest { to: Some(ReplayPoint::Offset(10)), ..again(2) };
        let dry = pump.service("payments").plan_replay(&request).await.unwrap();
        assert_eq!((dry[0].from, dry[0].to, dry[0].records(), &dry[0].id), (2, 10, 8, &None));
        assert_eq!(replays(&pump).await, [], "a plan does nothing");
        pump.service("payments").replay(&request).await.unwrap();
        let replay = until_ended(&pump, ReplayState::Done).await;
        assert_eq!(plan.numbers("a"), [0, 1, 2, 3, 4, 5, 1, 2, 3, 4]);
        assert_eq!(plan.numbers("b"), [0, 1, 2, 3, 4, 1, 2, 3, 4]);
        assert_eq!((replay.resume, replay.applied), (Some(11), Some(11)));
        assert_eq!(pump.published::<Charged>().await.len(), 11 + 8, "its events are published again");
        // A second replay handles the range a second time.
        pump.service("payments").replay(&ReplayRequest { to: Some(ReplayPoint::Offset(3)), ..again(2) }).await.unwrap();
        until_ended(&pump, ReplayState::Done).await;
        assert_eq!(plan.numbers("a").len() + plan.numbers("b").len(), 11 + 8 + 1);
        pump.stop().await;
    }
}

#[tokio::test]
async fn what_takes_work_is_called_again_too() {
    for database in databases().await {
        let plan = Plan::done();
        let pump = handled(&database, &plan, handlers![calling]).await;
        pump.service("payments").replay(&again(0)).await.unwrap();
        until_ended(&pump, ReplayState::Done).await;
        assert_eq!(plan.numbers("a"), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
        pump.stop().await;
    }
}

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Noted {
    order_id: String,
}

#[handler]
async fn noting(On(_): On<Noted>) {}

#[tokio::test]
async fn what_was_never_handled_is_handled() {
    for database in databases().await {
        let clock = clock();
        let log = Arc::new(Memory::with_clock(clock.clone()));
        let plan = Plan::done();
        // A program that does not know the type skips the record.
        let of = |handlers: Vec<sagas::handler::Handler>| service(&database, &plan).handlers(handlers).settings(settings());
        let pump = Pump::of([of(handlers![noting].into())]).on(log.clone()).clock(clock.clone()).start().await;
        for number in 0..3 {
            pump.publish(&placed("a", number)).await;
        }
        pump.run_until_quiet().await;
        drop(pump);
        let pump = Pump::of([of(handlers![bare].into())]).on(log).clock(clock).seed(2).start().await;
        pump.run_until_quiet().await;
        assert_eq!(plan.calls(), []);
        pump.service("payments").replay(&from(1)).await.unwrap();
        until_ended(&pump, ReplayState::Done).await;
        assert_eq!(plan.numbers("a"), [1, 2]);
        pump.stop().await;
    }
}

#[tokio::test]
async fn what_is_parked_is_handled_once() {
    for database in databases().await {
        let broken = Arc::new(AtomicBool::new(true));
        let it = broken.clone();
        let plan = Plan::new(move |placed, _| match placed.number {
            3 if it.load(Ordering::SeqCst) && placed.order_id == "a" => Step::Later(Duration::from_secs(5)),
            _ => Step::Done,
        });
        let pump = handled(&database, &plan, handlers![writing]).await;
        assert_eq!((plan.numbers("a"), plan.numbers("b")), (vec![0, 1, 2, 3], vec![0, 1, 2, 3, 4]), "3 and 4 are parked");
        pump.service("payments").replay(&again(0)).await.unwrap();
        until_ended(&pump, ReplayState::Done).await;
        broken.store(false, Ordering::SeqCst);
        for _ in 0..3 {
            pump.advance(Duration::from_secs(5)).await;
        }
        // 0 to 2 wait behind the parked message, and follow it.
        assert_eq!(plan.numbers("a"), [0, 1, 2, 3, 3, 4, 0, 1, 2]);
        assert_eq!(plan.numbers("b"), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_time_is_where_the_records_of_the_log_say_it_is() {
    let database = Database::memory();
    let plan = Plan::done();
    let clock = clock();
    let pump =
        Pump::of([service(&database, &plan).handlers(handlers![bare]).settings(settings())]).clock(clock.clone()).start().await;
    let mut times = Vec::new();
    for number in 0..5 {
        times.push(clock.now());
        pump.publish(&placed("a", number)).await;
        pump.advance(Duration::from_secs(10)).await;
    }
    let request = ReplayRequest {
        to: Some(ReplayPoint::Time(times[3])),
        ..ReplayRequest { from: ReplayPoint::Time(times[1]), ..again(0) }
    };
    pump.service("payments").replay(&request).await.unwrap();
    until_ended(&pump, ReplayState::Done).await;
    assert_eq!(plan.numbers("a"), [0, 1, 2, 3, 4, 1, 2]);
    let late = ReplayRequest { from: ReplayPoint::Time(clock.now()), ..again(0) };
    let error = pump.service("payments").replay(&late).await.unwrap_err();
    assert!(error.to_string().contains("there is no record from offset 5"), "{error}");
    pump.stop().await;
}

#[tokio::test]
async fn a_range_is_bounded_and_one_at_a_time() {
    let clock = clock();
    let log = Memory::with_clock(clock.clone());
    let plan = Plan::new(|placed, _| if placed.number == 3 { Step::Later(Duration::from_secs(5)) } else { Step::Done });
    let service = service(&Database::memory(), &plan).handlers(handlers![bare]).settings(settings());
    let pump = Pump::of([service]).on(Arc::new(log.clone())).clock(clock).start().await;
    for number in 0..5 {
        pump.publish(&placed("a", number)).await;
    }
    pump.run_until_quiet().await;
    log.forget_before(&sagas::message::TopicPartition::new("orders", 0), 2);
    let payments = pump.service("payments");
    let said = async |request: &ReplayRequest| payments.replay(request).await.unwrap_err().to_string();
    assert_eq!(said(&from(1)).await, "orders-0: offset 1 is not in the log any more; its oldest is 2: replay from there");
    let few = ReplayRequest { limit: 2, ..from(2) };
    assert_eq!(said(&few).await, "the range spans 3 records, and at most 2 are replayed at once: narrow it, or raise the limit");
    let elsewhere = ReplayRequest { topic: "stock".to_owned(), ..from(2) };
    assert_eq!(said(&elsewhere).await, "this service handles no topic `stock`; it handles orders");
    let partition = ReplayRequest { partition: Some(7), ..from(2) };
    assert_eq!(said(&partition).await, "the topic `orders` has no partition 7; it has 1, from 0");
    assert_eq!(replays(&pump).await, []);
    pump.stop().await;
}

async fn start(database: &Database, plan: &Plan, clock: &Clock, log: Arc<dyn Transport>) -> Handle {
    let service = service(database, plan).handlers(handlers![writing]).settings(settings());
    App::new("shop").service(service).clock(clock.clone()).start(log).await.unwrap()
}

/// A plan whose handler hangs at number 2 while the gate is shut.
fn gated(shut: &Arc<AtomicBool>) -> Plan {
    let shut = shut.clone();
    Plan::new(move |placed, _| if placed.number == 2 && shut.load(Ordering::SeqCst) { Step::Hang } else { Step::Done })
}

#[tokio::test]
async fn a_replay_that_is_broken_off_goes_on_after_a_start_and_does_nothing_twice() {
    for database in databases().await {
        let (clock, shut) = (clock(), Arc::new(AtomicBool::new(false)));
        let log: Arc<dyn Transport> = Arc::new(Memory::with_clock(clock.clone()));
        let plan = gated(&shut);
        let handle = start(&database, &plan, &clock, log.clone()).await;
        let publisher = Pump::of([Service::new("shop", Database::memory())]).on(log.clone()).clock(clock.clone()).start().await;
        for number in 0..5 {
            publisher.publish(&placed("a", number)).await;
        }
        until("all are handled", async || plan.numbers("a").len() == 5).await;
        shut.store(true, Ordering::SeqCst);
        handle.service("payments").unwrap().replay(&again(0)).await.unwrap();
        until("it hangs", async || plan.numbers("a").len() >= 8).await;
        assert_eq!(plan.numbers("a")[5..], [0, 1, 2]);
        drop(handle);
        until("it has ended", async || Arc::strong_count(database.store()) == 1).await;

        shut.store(false, Ordering::SeqCst);
        let plan = gated(&shut);
        let handle = start(&database, &plan, &clock, log.clone()).await;
        let payments = handle.service("payments").unwrap().clone();
        until("it is done", async || payments.replays(true, 1).await.unwrap().is_empty()).await;
        let numbers = plan.numbers("a");
        // A committed message is known, although its claim belongs to the replay.
        assert!(numbers == [2, 3, 4] || numbers == [0, 1, 2, 3, 4] && numbers.len() == 5, "{numbers:?}");
        let replay = payments.replays(false, 1).await.unwrap().remove(0);
        assert_eq!((replay.state, replay.applied), (ReplayState::Done, Some(5)));
        handle.stop().await;
        publisher.stop().await;
    }
}

/// Waits at the gate before it begins its transaction, where the plan makes it hang.
#[handler(timeout = "1h")]
async fn waiting(
    On(placed): On<Placed>,
    work: Work,
    meta: Meta,
    State(plan): State<Plan>,
    State(gate): State<Gate>,
) -> Result<(), Failure> {
    if plan.step(&placed, &meta) == Step::Hang {
        gate.0.acquire().await?.forget();
    }
    work.begin().await?;
    Ok(())
}

#[derive(Clone)]
struct Gate(Arc<Semaphore>);

#[tokio::test]
async fn it_can_be_cancelled_and_the_partition_goes_on_where_it_was() {
    let (shut, gate) = (Arc::new(AtomicBool::new(false)), Gate(Arc::new(Semaphore::new(0))));
    let plan = gated(&shut);
    let service = service(&Database::memory(), &plan).state(gate.clone()).handlers(handlers![waiting]).settings(settings());
    let pump = Pump::of([service]).start().await;
    for number in 0..5 {
        pump.publish(&placed("a", number)).await;
    }
    pump.run_until_quiet().await;
    shut.store(true, Ordering::SeqCst);
    let payments = pump.service("payments");
    let id = payments.replay(&again(0)).await.unwrap().remove(0).id.unwrap();
    until("it hangs", async || plan.numbers("a").len() >= 8).await;
    assert!(matches!(payments.replay(&from(0)).await, Err(ReplayError::Busy(_))), "one at a time");
    assert!(payments.cancel_replay(&id).await.unwrap());
    assert_eq!(payments.replays(true, 1).await.unwrap()[0].state, ReplayState::Stopping);
    shut.store(false, Ordering::SeqCst);
    gate.0.add_permits(10);
    until("it has ended", async || payments.replays(true, 1).await.unwrap().is_empty()).await;
    assert!(!payments.cancel_replay(&id).await.unwrap(), "it has ended");
    pump.publish(&placed("a", 9)).await;
    pump.run_until_quiet().await;
    assert_eq!(plan.numbers("a").last(), Some(&9));
    let replay = replays(&pump).await.remove(0);
    // The messages taken from the range are done: all of the range, or a part of it.
    assert!(matches!(replay.state, ReplayState::Cancelled | ReplayState::Done), "{replay:?}");
    assert_eq!((replay.resume, replay.applied.unwrap() >= 5), (Some(5), true));
    pump.stop().await;
}

#[tokio::test]
async fn another_instance_carries_it_out_and_takes_it_over() {
    let (clock, plan) = (clock(), Plan::done());
    let database = Database::memory();
    let log: Arc<dyn Transport> = Arc::new(Memory::with_clock(clock.clone()));
    let first = start(&database, &plan, &clock, log.clone()).await;
    let publisher = Pump::of([Service::new("shop", Database::memory())]).on(log.clone()).clock(clock.clone()).start().await;
    for number in 0..5 {
        publisher.publish(&placed("a", number)).await;
    }
    until("all are handled", async || plan.numbers("a").len() == 5).await;
    // The second process has no partition, and receives the request.
    let second = start(&database, &plan, &clock, log.clone()).await;
    second.service("payments").unwrap().replay(&again(3)).await.unwrap();
    let payments = second.service("payments").unwrap().clone();
    advance_until(&clock, "it is done", async || payments.replays(true, 1).await.unwrap().is_empty()).await;
    assert_eq!(plan.numbers("a"), [0, 1, 2, 3, 4, 3, 4]);
    first.stop().await;
    second.stop().await;
    publisher.stop().await;
}

#[tokio::test]
async fn faults_of_the_log_and_the_database_make_a_replay_neither_less_nor_more() {
    for seed in 0..4 {
        let (clock, plan) = (clock(), Plan::done());
        let faults = store::Faults::default();
        let database = store::failing(&Database::memory(), &faults);
        let log = Arc::new(Faulty::new(Arc::new(Memory::with_clock(clock.clone())), Faults::default(), seed, clock.clone()));
        let service = service(&database, &plan).handlers(handlers![bare]).settings(settings());
        let pump = Pump::of([service]).on(log.clone()).clock(clock.clone()).start().await;
        for number in 0..20 {
            pump.publish(&placed("a", number)).await;
        }
        pump.run_until_quiet().await;
        log.set(Faults {
            duplicate: 0.5,
            delay: 0.5,
            fail_publish: 0.3,
            lose_answer: 0.2,
            fail_commit: 0.5,
            ..Faults::default()
        });
        pump.service("payments").replay(&again(5)).await.unwrap();
        advance_until(&clock, "it is done", async || pump.service("payments").replays(true, 1).await.unwrap().is_empty()).await;
        settle(&pump, &["payments"]).await;
        let expected: Vec<u32> = (0..20).chain(5..20).collect();
        assert_eq!(plan.numbers("a"), expected, "seed {seed}");
        pump.stop().await;
    }
}

/// The database writes the refusal late, and records arrive meanwhile.
#[tokio::test]
async fn a_partition_is_read_on_while_its_replay_is_refused() {
    let (faults, clock, plan) = (store::Faults::default(), clock(), Plan::done());
    let refusing = Arc::new(AtomicBool::new(true));
    let fails = refusing.clone();
    faults.set(move |fault| fault == store::Fault::Step && fails.load(Ordering::SeqCst));
    let database = store::failing(&Database::memory(), &faults);
    let service = service(&database, &plan).handlers(handlers![bare]).settings(settings());
    let pump = Pump::of([service]).clock(clock.clone()).start().await;
    for number in 0..5 {
        pump.publish(&placed("a", number)).await;
    }
    pump.run_until_quiet().await;
    // A request from outside, which does not check the log: no record is as recent as its start.
    let replay = Replay {
        id: sagas::replay::ReplayId::new("r"),
        partition: sagas::message::TopicPartition::new("orders", 0),
        from: None,
        from_time: Some(clock.now().after(Duration::from_secs(3_600))),
        to: None,
        to_time: None,
        limit: 100,
        again: true,
        reason: String::new(),
        by: "ada".to_owned(),
        at: clock.now(),
        state: ReplayState::Waiting,
        resume: None,
        ended_at: None,
        detail: None,
        log: None,
        applied: None,
    };
    assert!(database.store().replays().ask("payments", &replay).await.unwrap());
    for number in 5..40 {
        pump.publish(&placed("a", number)).await;
        clock.advance(Duration::from_millis(300));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    until("all is handled while it is refused", async || plan.numbers("a").len() == 40).await;
    assert_eq!(replays(&pump).await[0].state, ReplayState::Waiting);
    refusing.store(false, Ordering::SeqCst);
    advance_until(&clock, "it is refused", async || replays(&pump).await[0].state == ReplayState::Refused).await;
    assert!(replays(&pump).await[0].detail.as_deref().is_some_and(|why| why.contains("no record")));
    pump.publish(&placed("a", 40)).await;
    pump.run_until_quiet().await;
    assert_eq!(plan.numbers("a"), (0..=40).collect::<Vec<_>>(), "each once, in order");
    advance_until(&clock, "how far it is, is noted", async || replays(&pump).await[0].applied == Some(41)).await;
    pump.stop().await;
}
