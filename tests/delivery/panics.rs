//! A panic outside handlers, in the framework or in code that it calls, fails only the message that causes it; a task that panics
//! restarts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sagas::{
    Settings, dead_letter::DeadLetter, handler::Handler, health::Status, port::transport::Transport, prelude::*,
    store::StoreError, testing::Pump, transport::memory::Memory,
};

use crate::support::{
    store::{Comes, Faults, failing},
    trip::{Tripping, Trips},
    *,
};

const MESSAGES: u32 = 20;
/// The key and the message id of the message that causes the problem.
const POISON: (&str, &str) = ("o7", "m-7");

/// Starts a service of `handlers` on one partition, for which 20 messages wait.
async fn started(database: &Database, faults: &Faults, plan: &Plan, handlers: [Handler; 1]) -> Pump {
    let clock = clock();
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let mut settings = Settings::default();
    settings.topic_partitions = 1;
    let payments = service(&failing(database, faults), plan).handlers(handlers).settings(settings);
    let pump = Pump::of([payments]).on(log.clone()).clock(clock).start().await;
    let records = (0..MESSAGES).map(|number| {
        let (key, id) = (format!("o{number}"), format!("m-{number}"));
        let value = format!(r#"{{"order_id":"{key}","number":{number}}}"#);
        let headers = [("ce_id", id.as_str()), ("ce_source", "test"), ("ce_type", "Placed"), ("ce_specversion", "1.0")];
        record(Some(key.as_bytes()), Some(value.as_bytes()), &headers)
    });
    log.publish(records.collect()).await;
    pump
}

async fn is_ready(pump: &Pump) -> bool {
    pump.service("payments").health().ready().await.status != Status::Down
}

/// Waits for the single open dead letter.
async fn letter(pump: &Pump) -> DeadLetter {
    let payments = pump.service("payments");
    advance_until(pump.clock(), "a dead letter", || async { payments.dead_letters(0, 1).await.unwrap().1 > 0 }).await;
    let (mut letters, open) = payments.dead_letters(0, 10).await.unwrap();
    assert_eq!(open, 1, "{letters:?}");
    letters.remove(0)
}

/// The message of this key causes `trouble` in the call `call`, every time.
async fn one_of_twenty(
    handlers: [Handler; 1],
    database: &Database,
    call: &'static str,
    trouble: Comes,
    plan: Plan,
) -> DeadLetter {
    let faults = Faults::default();
    faults.act(move |at, about| {
        let poisonous = about.split(' ').any(|key| key == POISON.0 || key == POISON.1);
        (at == call && poisonous).then(|| trouble.clone())
    });
    let pump = started(database, &faults, &plan, handlers).await;
    let others = || async { pump.published::<Charged>().await.len() == MESSAGES as usize - 1 };
    advance_until(pump.clock(), "the others are done", others).await;
    let letter = letter(&pump).await;
    assert_eq!(letter.received.record.key.as_deref(), Some(POISON.0.as_bytes()));
    // The service continues, also with this key.
    faults.clear();
    pump.publish(&placed(POISON.0, 100)).await;
    let more = || async { pump.published::<Charged>().await.iter().any(|charged| charged.number == 100) };
    advance_until(pump.clock(), "what comes later is handled", more).await;
    assert!(pump.service("payments").retry_dead_letter(&letter.id).await.unwrap());
    let retried = || async { pump.published::<Charged>().await.iter().any(|charged| charged.number == 7) };
    advance_until(pump.clock(), "the letter is handled", retried).await;
    settle(&pump, &["payments"]).await;
    assert_eq!(pump.published::<Charged>().await.len(), MESSAGES as usize + 1, "each once");
    assert!(is_ready(&pump).await);
    pump.stop().await;
    letter
}

/// The calls of the framework for a message in which the message can cause a failure.
const CALLS: [&str; 2] = ["claim", "append_outbox"];

#[tokio::test]
async fn a_panic_for_one_message_of_a_batch_is_its_failure_alone() {
    for handlers in [handlers![bare], handlers![calling]] {
        for call in CALLS {
            for database in databases().await {
                let letter = one_of_twenty(handlers.clone(), &database, call, Comes::ToPanic, Plan::done()).await;
                assert!(letter.error.contains("panic in") && letter.error.contains(call), "{call}: {}", letter.error);
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_for_one_message_of_a_batch_is_its_failure_alone() {
    for handlers in [handlers![bare], handlers![calling]] {
        for call in CALLS {
            for database in databases().await {
                let refused = Comes::To(StoreError::Refused(format!("a trigger does not let {call} through")));
                let letter = one_of_twenty(handlers.clone(), &database, call, refused, Plan::done()).await;
                assert!(letter.error.contains("a trigger does not let"), "{call}: {}", letter.error);
            }
        }
    }
}

/// A statement that the database cancels also counts, after a few tries; a handler that calls another system is not called again
/// for this.
#[tokio::test]
async fn a_statement_that_is_given_up_for_one_message_is_its_failure_alone() {
    for (handlers, most) in [(handlers![bare], 24), (handlers![calling], 3)] {
        for database in databases().await {
            let given_up = Comes::To(StoreError::Statement("it took too long".into()));
            let plan = Plan::done();
            let letter = one_of_twenty(handlers.clone(), &database, "append_outbox", given_up, plan.clone()).await;
            assert_eq!((letter.attempts, letter.error.contains("it took too long")), (3, true), "{}", letter.error);
            let calls =
                plan.calls().iter().filter(|(order, number, attempt)| order == POISON.0 && *number == 7 && *attempt <= 3).count();
            // One more call for the retry of the dead letter.
            assert!(calls <= most + 1, "{calls} calls");
        }
    }
}

/// The same for messages that were all parked, and are tried again in one batch.
#[tokio::test]
async fn a_refusal_among_messages_that_are_tried_again_is_its_failure_alone() {
    for trouble in [Comes::ToPanic, Comes::To(StoreError::Refused("not this one".into()))] {
        for database in databases().await {
            let (faults, trouble) = (Faults::default(), trouble.clone());
            faults.act(move |at, about| {
                let poisonous = about.split(' ').any(|key| key == POISON.0 || key == "o8");
                (at == "append_outbox" && poisonous).then(|| trouble.clone())
            });
            let plan = Plan::new(|_, meta| if meta.attempt == 1 { Step::Retry } else { Step::Done });
            let pump = started(&database, &faults, &plan, handlers![bare]).await;
            let parked = || async { database.store().parked_keys("payments").await.unwrap().len() == MESSAGES as usize };
            until("each has failed once", parked).await;
            pump.clock().advance(Duration::from_secs(5));
            let others = || async { pump.published::<Charged>().await.len() == MESSAGES as usize - 2 };
            until("the others are done", others).await;
            let letters = || async { pump.service("payments").dead_letters(0, 1).await.unwrap().1 == 2 };
            advance_until(pump.clock(), "the two are given up", letters).await;
            pump.stop().await;
        }
    }
}

/// A message that can be neither committed nor parked is given up at once: the order of its key could not be kept.
#[tokio::test]
async fn what_can_neither_be_committed_nor_parked_is_a_dead_letter() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let (faults, plan) = (Faults::default(), Plan::done());
            faults.act(|at, about| {
                let poisonous = about.split(' ').any(|key| key == POISON.0);
                (["append_outbox", "park"].contains(&at) && poisonous).then_some(Comes::ToPanic)
            });
            let pump = started(&database, &faults, &plan, handlers.clone()).await;
            let letter = letter(&pump).await;
            assert!(letter.error.contains("append_outbox") && letter.error.contains("park"), "{}", letter.error);
            assert!(letter.unpublished.is_some(), "it says that its topic does not have it");
            pump.stop().await;
        }
    }
}

/// A message whose dead letter the database also rejects delays neither its lane nor others; it waits, visibly, and is handled in
/// order.
#[tokio::test]
async fn what_cannot_even_be_given_up_is_left_alone_in_sight() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let (faults, plan) = (Faults::default(), Plan::done());
            faults.act(|at, about| {
                let poisonous = about.split(' ').any(|key| key == POISON.0);
                let refused = || Comes::To(StoreError::Refused("not for this key".into()));
                (["append_outbox", "park", "bury"].contains(&at) && poisonous).then(refused)
            });
            let pump = started(&database, &faults, &plan, handlers.clone()).await;
            let payments = pump.service("payments");
            let stuck = || async { metric(payments, "sagas_conditions", "message_stuck") == 1.0 };
            advance_until(pump.clock(), "the condition is raised", stuck).await;
            pump.publish(&placed(POISON.0, 100)).await;
            pump.publish(&placed("o1", 101)).await;
            let others = || async { pump.published::<Charged>().await.len() == MESSAGES as usize };
            advance_until(pump.clock(), "the others are done", others).await;
            assert!(!is_ready(&pump).await);
            let calls = plan.numbers(POISON.0).len();
            assert!(calls < 20, "it is tried now and then: {calls} calls");
            faults.clear();
            let all = || async { pump.published::<Charged>().await.len() == MESSAGES as usize + 2 };
            advance_until(pump.clock(), "it is handled", all).await;
            assert_eq!(plan.numbers(POISON.0).last(), Some(&100), "in order");
            assert_eq!(metric(payments, "sagas_conditions", "message_stuck"), 0.0);
            settle(&pump, &["payments"]).await;
            pump.stop().await;
        }
    }
}

/// A record becomes a dead letter before any handler is called, and the database rejects its copy in the outbox.
#[tokio::test]
async fn an_unfit_record_of_which_only_the_letter_can_be_written_is_one() {
    for trouble in [Comes::ToPanic, Comes::To(StoreError::Refused("not this one".into()))] {
        for database in databases().await {
            let (faults, plan, trouble) = (Faults::default(), Plan::done(), trouble.clone());
            faults.act(move |at, about| (at == "append_outbox" && about.contains("unfit")).then(|| trouble.clone()));
            let pump = started(&database, &faults, &plan, handlers![bare]).await;
            let headers = [("ce_id", "x".repeat(5_000)), ("ce_source", "test".into()), ("ce_type", "Placed".into())];
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            pump.publish_record(record(Some(b"unfit"), Some(b"{}"), &headers)).await;
            let letter = letter(&pump).await;
            assert!(
                letter.error.starts_with("the header `ce_id` has 5000 bytes")
                    && letter.error.contains("append_outbox") | letter.error.contains("not this one"),
                "{}",
                letter.error
            );
            assert!(letter.unpublished.is_some());
            let all = || async { pump.published::<Charged>().await.len() == MESSAGES as usize };
            advance_until(pump.clock(), "the others are done", all).await;
            pump.stop().await;
        }
    }
}

/// An error whose `Display` panics.
#[derive(Debug)]
struct Mute;

impl std::fmt::Display for Mute {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("the text of an error panics")
    }
}

impl std::error::Error for Mute {}

#[handler(retry(max = 2, backoff = "1s..4s"))]
async fn speechless(On(placed): On<Placed>, mut tx: Tx, State(plan): State<Plan>) -> Result<Charged, Failure> {
    plan.write(&mut tx, &placed).await?;
    if placed.order_id == POISON.0 {
        Err(Mute)?
    }
    Ok(Charged { order_id: placed.order_id, number: placed.number })
}

#[tokio::test]
async fn an_error_whose_text_panics_is_a_failed_attempt() {
    let (database, faults, plan) = (sqlite().await, Faults::default(), Plan::done().rows());
    let pump = started(&database, &faults, &plan, handlers![speechless]).await;
    let letter = letter(&pump).await;
    assert_eq!(letter.attempts, 2);
    assert!(letter.error.contains("panic in") && letter.error.contains("the text of an error panics"), "{}", letter.error);
    settle(&pump, &["payments"]).await;
    assert_eq!(rows(&database).await.len(), MESSAGES as usize - 1);
    pump.stop().await;
}

/// Every task of the runtime that uses the database continues after a panic there.
#[tokio::test]
async fn what_asks_the_database_goes_on_after_a_panic() {
    for call in ["own", "advance", "parked_keys", "parked", "prune", "commit"] {
        for database in databases().await {
            let (faults, left) = (Faults::default(), Arc::new(AtomicU32::new(2)));
            let met = left.clone();
            faults.act(move |at, _| {
                let panics =
                    at == call && met.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                panics.then_some(Comes::ToPanic)
            });
            // Each message fails once, so that it is parked and read back.
            let plan = Plan::new(|_, meta| if meta.attempt == 1 { Step::Retry } else { Step::Done });
            let pump = started(&database, &faults, &plan, handlers![bare]).await;
            let done =
                || async { left.load(Ordering::SeqCst) == 0 && pump.published::<Charged>().await.len() == MESSAGES as usize };
            advance_until_slowly(&pump, &format!("all is done in spite of {call}"), done).await;
            settle(&pump, &["payments"]).await;
            assert_eq!(pump.published::<Charged>().await.len(), MESSAGES as usize, "{call}: each once");
            pump.stop().await;
        }
    }
}

/// Like `advance_until`, in larger steps.
async fn advance_until_slowly<F: Future<Output = bool>>(pump: &Pump, what: &str, mut condition: impl FnMut() -> F) {
    until(what, || {
        pump.clock().advance(Duration::from_millis(200));
        condition()
    })
    .await;
}

#[tokio::test]
async fn a_long_task_that_panics_is_begun_anew() {
    for (call, task) in [
        ("next", "consumer"),
        ("start", "consumer"),
        ("closed", ""),
        ("commit", "consumer"),
        ("publish", "relay"),
        ("conditions", "log_monitor"),
        // Two tasks query it.
        ("statistics", "task="),
    ] {
        let (clock, trips, plan) = (clock(), Trips::default(), Plan::done());
        let log = Arc::new(Tripping { log: Arc::new(Memory::with_clock(clock.clone())), trips: trips.clone() });
        let database = Database::memory();
        let pump = Pump::of([service(&database, &plan).handlers(handlers![bare])]).on(log).clock(clock).start().await;
        trips.set(call, 3);
        let inner = pump.service("payments").clone();
        for number in 0..MESSAGES {
            // With a unit of work, not through the log, which panics.
            let mut work = inner.begin().await.unwrap();
            work.publish(&placed(&format!("o{number}"), number)).unwrap();
            work.commit().await.unwrap();
        }
        let done = || async {
            trips.are_over() && database.store().outbox("payments", 0, 1).await.unwrap().is_empty() && plan.calls().len() >= 20
        };
        advance_until_slowly(&pump, &format!("all is done in spite of {call}"), done).await;
        settle(&pump, &["payments"]).await;
        let mut numbers: Vec<_> = pump.published::<Charged>().await.iter().map(|charged| charged.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>(), "{call}: each once");
        let payments = pump.service("payments");
        let panics = if call == "closed" { 0.0 } else { 3.0 };
        assert!(metric(payments, "sagas_task_panics_total", task) >= panics, "{call}");
        let over = || async { metric(payments, "sagas_conditions", "task_panics") == 0.0 };
        advance_until_slowly(&pump, "the condition ends", over).await;
        assert!(is_ready(&pump).await, "{call}");
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_job_that_panics_is_called_again() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let job = move |_: ServiceHandle| {
        let counted = counted.clone();
        async move {
            let call = counted.fetch_add(1, Ordering::SeqCst);
            assert!(call >= 2, "the test wants the job to panic");
        }
    };
    let pump = Pump::of([Service::new("payments", Database::memory()).job(job)]).start().await;
    advance_until_slowly(&pump, "the job has ended", || async { calls.load(Ordering::SeqCst) == 3 }).await;
    assert!((metric(pump.service("payments"), "sagas_task_panics_total", "job") - 2.0).abs() < 0.1);
    pump.stop().await;
}

/// Parked messages of a key that cannot be read back wait, visibly, and delay no other.
#[tokio::test]
async fn parked_messages_that_cannot_be_read_back_are_told_and_stop_no_other() {
    for trouble in [Comes::ToPanic, Comes::To(StoreError::Incompatible("a row holds what this program did not write".into()))] {
        for database in databases().await {
            let faults = Faults::default();
            let it = trouble.clone();
            faults.act(move |at, about| (at == "parked" && about.contains(POISON.0)).then(|| it.clone()));
            let plan = Plan::new(|_, meta| if meta.attempt == 1 { Step::Retry } else { Step::Done });
            let pump = started(&database, &faults, &plan, handlers![bare]).await;
            let payments = pump.service("payments");
            let others = || async { pump.published::<Charged>().await.len() == MESSAGES as usize - 1 };
            advance_until_slowly(&pump, "the others are done", others).await;
            let told = || async { metric(payments, "sagas_conditions", "parked_unreadable") == 1.0 };
            advance_until_slowly(&pump, "the condition is raised", told).await;
            faults.clear();
            settle(&pump, &["payments"]).await;
            assert_eq!(pump.published::<Charged>().await.len(), MESSAGES as usize);
            assert_eq!(metric(payments, "sagas_conditions", "parked_unreadable"), 0.0);
            pump.stop().await;
        }
    }
}
