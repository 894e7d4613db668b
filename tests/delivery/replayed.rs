//! The message of a dead letter, produced again with its own id: it was never handled, so it is not a duplicate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sagas::{
    dead_letter::{DeadLetterFilter, DeadLetterState, LetterHead},
    handler::Handler,
    message::{Header, Received, Record, headers},
    prelude::*,
    testing::Pump,
};

use crate::support::{
    store::{Fault, Faults, failing},
    *,
};

/// A record of an order as another system publishes it. Handlers give up `number` 0.
fn foreign(id: &str, key: &str, number: u32) -> Record {
    let value = format!(r#"{{"order_id":"{key}","number":{number}}}"#);
    let named = [("ce_id", id), ("ce_source", "elsewhere"), ("ce_type", "Placed")];
    record(Some(key.as_bytes()), Some(value.as_bytes()), &named)
}

/// Gives up number 0 at once.
fn giving_up() -> Plan {
    Plan::new(|placed, _| if placed.number == 0 { Step::Dead } else { Step::Done })
}

async fn letters(pump: &Pump) -> Vec<LetterHead> {
    let any = DeadLetterFilter::default();
    pump.service("payments").find_dead_letters(&any, 0, 10).await.unwrap().0.into_iter().map(|letter| letter.head).collect()
}

async fn states(pump: &Pump) -> Vec<DeadLetterState> {
    letters(pump).await.iter().map(|letter| letter.state).collect()
}

async fn start(database: &Database, plan: &Plan, handlers: impl IntoIterator<Item = Handler>) -> Pump {
    Pump::of([service(database, plan).handlers(handlers)]).start().await
}

async fn publish(pump: &Pump, record: Record) {
    pump.publish_record(record).await;
    pump.run_until_quiet().await;
}

#[tokio::test]
async fn a_mended_copy_is_handled_once_and_settles_the_letter() {
    for handlers in [handlers![bare], handlers![refusing], handlers![calling]] {
        for database in databases().await {
            let plan = giving_up();
            let pump = start(&database, &plan, handlers.clone()).await;
            publish(&pump, foreign("m-1", "a", 0)).await;
            assert_eq!((plan.numbers("a"), states(&pump).await), (vec![0], vec![DeadLetterState::Open]));
            assert_eq!(metric(pump.service("payments"), "sagas_dead_letters_open", ""), 1.0);

            publish(&pump, foreign("m-1", "a", 7)).await;
            assert_eq!((plan.numbers("a"), states(&pump).await), (vec![0, 7], vec![DeadLetterState::Replayed]));
            assert_eq!(pump.published::<Charged>().await.len(), 1);
            let payments = pump.service("payments");
            assert_eq!(metric(payments, "sagas_dead_letters_open", ""), 0.0);
            assert_eq!(metric(payments, "sagas_dead_letters_settled_total", "how=\"replayed\""), 1.0);

            // A further copy is a duplicate according to the inbox.
            publish(&pump, foreign("m-1", "a", 8)).await;
            assert_eq!(plan.numbers("a"), [0, 7]);
            assert_eq!(metric(payments, "sagas_deliveries_total", "outcome=\"duplicate\""), 1.0);
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn the_very_record_that_comes_again_is_a_duplicate_and_no_second_letter() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let (plan, clock) = (giving_up(), clock());
            let log = Arc::new(sagas::transport::memory::Memory::with_clock(clock.clone()));
            let faults = sagas::testing::faulty::Faults { duplicate: 1.0, ..Default::default() };
            let twice = Arc::new(sagas::testing::faulty::Faulty::new(log, faults, 11, clock.clone()));
            let payments = service(&database, &plan).handlers(handlers.clone());
            let pump = Pump::of([payments]).on(twice.clone()).clock(clock).start().await;
            for number in 0..20 {
                pump.publish_record(foreign(&format!("m-{number}"), &format!("o{number}"), 0)).await;
            }
            pump.run_until_quiet().await;
            until("every second delivery has come", || async { twice.held_back() == 0 }).await;
            pump.run_until_quiet().await;
            assert_eq!(plan.calls().len(), 20);
            let (_, open) = pump.service("payments").dead_letters(0, 0).await.unwrap();
            assert_eq!(open, 20);
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn the_headers_of_a_letter_do_not_grow_however_often_its_copy_fails_again() {
    let plan = giving_up();
    let pump = start(&Database::memory(), &plan, handlers![bare]).await;
    publish(&pump, foreign("m-1", "a", 0)).await;
    let mut sizes = Vec::new();
    for _ in 0..4 {
        // The record of the dead letter topic, as an operator's script produces it again.
        let letter = pump.records("payments.dlt").await.pop().unwrap();
        let mut names: Vec<_> = letter.record.headers.iter().map(|header| header.name.clone()).collect();
        sizes.push(names.len());
        names.sort();
        names.dedup();
        assert_eq!(names.len(), letter.record.headers.len(), "{:?}", letter.record.headers);
        publish(&pump, Record { topic: "orders".to_owned(), ..(*letter.record).clone() }).await;
    }
    assert_eq!(sizes, [sizes[0]; 4]);
    assert_eq!(pump.records("payments.dlt").await.len(), 5);
    pump.stop().await;
}

#[tokio::test]
async fn a_copy_that_fails_again_is_a_letter_of_its_own_which_a_further_copy_settles() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let plan = giving_up();
            let pump = start(&database, &plan, handlers.clone()).await;
            publish(&pump, foreign("m-1", "a", 0)).await;
            publish(&pump, foreign("m-1", "a", 0)).await;
            assert_eq!(states(&pump).await, [DeadLetterState::Open, DeadLetterState::Replayed], "newest first");
            publish(&pump, foreign("m-1", "a", 3)).await;
            assert_eq!(plan.numbers("a"), [0, 0, 3]);
            assert_eq!(states(&pump).await, [DeadLetterState::Replayed; 2]);
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn a_copy_from_the_dead_letter_topic_with_all_its_headers_is_handled() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let broken = Arc::new(AtomicBool::new(true));
            let it = broken.clone();
            let plan = Plan::new(move |_, _| if it.load(Ordering::SeqCst) { Step::Dead } else { Step::Done });
            let pump = start(&database, &plan, handlers.clone()).await;
            publish(&pump, foreign("m-1", "a", 5)).await;
            let dead: Received = pump.records("payments.dlt").await.remove(0);
            let mut copy = (*dead.record).clone();
            assert_eq!(copy.header(headers::DLT_TOPIC), Some("orders"));
            copy.topic = copy.header(headers::DLT_TOPIC).unwrap().to_owned();
            copy.headers.push(Header::text("kafka_dlt-original-timestamp-type", "CreateTime"));
            broken.store(false, Ordering::SeqCst);
            publish(&pump, copy).await;
            assert_eq!((plan.numbers("a"), states(&pump).await), (vec![5, 5], vec![DeadLetterState::Replayed]));
            assert_eq!(pump.published::<Charged>().await.len(), 1);
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn a_record_that_is_no_event_and_is_mended_is_handled() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let plan = Plan::done();
            let pump = start(&database, &plan, handlers.clone()).await;
            let nonsense = Record { value: Some("{\"order_id\":\"a\"}".into()), ..foreign("m-1", "a", 1) };
            publish(&pump, nonsense).await;
            assert_eq!((plan.calls().len(), states(&pump).await), (0, vec![DeadLetterState::Open]));
            publish(&pump, foreign("m-1", "a", 1)).await;
            assert_eq!((plan.numbers("a"), states(&pump).await), (vec![1], vec![DeadLetterState::Replayed]));
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn of_two_copies_one_is_handled() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let plan = giving_up();
            let pump = start(&database, &plan, handlers.clone()).await;
            publish(&pump, foreign("m-1", "a", 0)).await;
            // With two keys, so that only the dead letter serializes them.
            for key in ["a", "b", "c", "d"] {
                pump.publish_record(foreign("m-1", key, 1)).await;
            }
            pump.run_until_quiet().await;
            // Handlers without a transaction are called in parallel, and one of them begins its transaction.
            assert!(plan.calls().len() >= 2);
            assert_eq!(pump.published::<Charged>().await.len(), 1);
            assert_eq!(states(&pump).await, [DeadLetterState::Replayed]);
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn a_copy_of_what_was_retried_and_handled_is_a_duplicate() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let broken = Arc::new(AtomicBool::new(true));
            let it = broken.clone();
            let plan = Plan::new(move |_, _| if it.load(Ordering::SeqCst) { Step::Dead } else { Step::Done });
            let pump = start(&database, &plan, handlers.clone()).await;
            publish(&pump, foreign("m-1", "a", 1)).await;
            broken.store(false, Ordering::SeqCst);
            let id = letters(&pump).await[0].id.clone();
            assert!(pump.service("payments").retry_dead_letter(&id).await.unwrap());
            // The retry is not finished yet when the copy arrives.
            publish(&pump, foreign("m-1", "a", 2)).await;
            assert_eq!((plan.numbers("a"), states(&pump).await), (vec![1, 1], vec![DeadLetterState::Retried]));
            assert_eq!(pump.published::<Charged>().await.len(), 1);
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn a_copy_of_what_was_discarded_is_handled_and_the_letter_can_be_retried_no_more() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let plan = giving_up();
            let pump = start(&database, &plan, handlers.clone()).await;
            publish(&pump, foreign("m-1", "a", 0)).await;
            let id = letters(&pump).await[0].id.clone();
            assert!(pump.service("payments").discard_dead_letter(&id).await.unwrap());
            publish(&pump, foreign("m-1", "a", 2)).await;
            assert_eq!((plan.numbers("a"), states(&pump).await), (vec![0, 2], vec![DeadLetterState::Replayed]));
            assert!(!pump.service("payments").retry_dead_letter(&id).await.unwrap());
            pump.run_until_quiet().await;
            assert_eq!(plan.numbers("a"), [0, 2]);
            pump.stop().await;
        }
    }
}

#[handler(retry(max = 1, backoff = "1s..1s"), on_dead = "hold")]
async fn holding(On(placed): On<Placed>, meta: Meta, State(plan): State<Plan>) -> Result<Charged, Failure> {
    match plan.step(&placed, &meta) {
        Step::Done => Ok(Charged { order_id: placed.order_id, number: placed.number }),
        _ => Err(Failure::retry("planned")),
    }
}

#[handler(retry(max = 1, backoff = "1s..1s"), on_dead = "hold")]
async fn holding_without_a_transaction(
    On(placed): On<Placed>,
    _work: Work,
    meta: Meta,
    State(plan): State<Plan>,
) -> Result<Charged, Failure> {
    match plan.step(&placed, &meta) {
        Step::Done => Ok(Charged { order_id: placed.order_id, number: placed.number }),
        _ => Err(Failure::retry("planned")),
    }
}

#[tokio::test]
async fn a_copy_takes_the_place_of_the_message_that_held_its_key() {
    for handlers in [handlers![holding], handlers![holding_without_a_transaction]] {
        for database in databases().await {
            let plan = giving_up();
            let pump = start(&database, &plan, handlers.clone()).await;
            for (id, number) in [("m-0", 0), ("m-1", 1), ("m-2", 2)] {
                publish(&pump, foreign(id, "a", number)).await;
            }
            assert_eq!(plan.numbers("a"), [0], "the key waits");
            publish(&pump, foreign("m-0", "a", 9)).await;
            assert_eq!(plan.numbers("a"), [0, 9, 1, 2], "before those that waited behind it");
            assert_eq!(states(&pump).await, [DeadLetterState::Replayed]);
            assert!(database.store().parked_keys("payments").await.unwrap().is_empty());
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn a_copy_under_another_key_frees_the_one_that_was_held() {
    for handlers in [handlers![holding], handlers![holding_without_a_transaction]] {
        for database in databases().await {
            let plan = giving_up();
            let pump = start(&database, &plan, handlers.clone()).await;
            for (id, number) in [("m-0", 0), ("m-1", 1)] {
                publish(&pump, foreign(id, "a", number)).await;
            }
            publish(&pump, foreign("m-0", "mended", 9)).await;
            assert_eq!((plan.numbers("a"), plan.numbers("mended")), (vec![0, 1], vec![9]));
            assert!(database.store().parked_keys("payments").await.unwrap().is_empty());
            pump.stop().await;
        }
    }
}

/// Every second call of the database fails at the place that the test names: the copy is still handled once.
#[tokio::test]
async fn faults_between_the_claim_and_the_letter_handle_it_once() {
    for fault in [Fault::Claim, Fault::Append, Fault::Commit, Fault::LoseAnswer, Fault::Begin] {
        for (handlers, rows_too) in [(handlers![writing], true), (handlers![calling], true), (handlers![bare], false)] {
            let (database, faults) = (sqlite().await, Faults::default());
            let mut plan = giving_up();
            if rows_too {
                plan = plan.rows();
            }
            let pump = start(&failing(&database, &faults), &plan, handlers).await;
            publish(&pump, foreign("m-1", "a", 0)).await;
            let calls = Arc::new(AtomicUsize::new(0));
            let counted = calls.clone();
            faults.set(move |at| at == fault && counted.fetch_add(1, Ordering::SeqCst) < 1);
            pump.publish_record(foreign("m-1", "a", 4)).await;
            settle(&pump, &["payments"]).await;
            faults.clear();
            settle(&pump, &["payments"]).await;
            assert!(calls.load(Ordering::SeqCst) > 0, "{fault:?} was met");
            assert_eq!(pump.published::<Charged>().await.len(), 1, "{fault:?}");
            assert_eq!(states(&pump).await, [DeadLetterState::Replayed], "{fault:?}");
            if rows_too {
                assert_eq!(rows(&database).await, [("a".to_owned(), 4)], "{fault:?}");
            }
            pump.stop().await;
        }
    }
}

/// An operator retries the dead letter while its copy arrives: one of the two is handled.
#[tokio::test]
async fn a_retry_at_the_same_moment_handles_it_once() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let broken = Arc::new(AtomicBool::new(true));
            let it = broken.clone();
            let plan = Plan::new(move |_, _| if it.load(Ordering::SeqCst) { Step::Dead } else { Step::Done });
            let pump = start(&database, &plan, handlers.clone()).await;
            for number in 0..40 {
                pump.publish_record(foreign(&format!("m-{number}"), &format!("o{number}"), 1)).await;
            }
            pump.run_until_quiet().await;
            broken.store(false, Ordering::SeqCst);
            let payments = pump.service("payments").clone();
            let retrying = tokio::spawn(async move { payments.retry_dead_letters(&DeadLetterFilter::default(), 1_000).await });
            for number in 0..40 {
                pump.publish_record(foreign(&format!("m-{number}"), &format!("o{number}"), 2)).await;
                tokio::task::yield_now().await;
            }
            let retried = retrying.await.unwrap().unwrap();
            settle(&pump, &["payments"]).await;
            assert_eq!(pump.published::<Charged>().await.len(), 40);
            let any = DeadLetterFilter { state: Some(DeadLetterState::Replayed), ..DeadLetterFilter::default() };
            let (_, replayed) = pump.service("payments").find_dead_letters(&any, 0, 0).await.unwrap();
            assert_eq!((retried.settled + replayed, retried.left), (40, 0));
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn a_copy_that_waits_for_its_retry_is_handled_when_that_comes() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let plan = Plan::new(|placed, meta| match (placed.number, meta.attempt) {
                (0, _) => Step::Dead,
                (_, 1) => Step::Retry,
                _ => Step::Done,
            });
            let pump = start(&database, &plan, handlers.clone()).await;
            publish(&pump, foreign("m-1", "a", 0)).await;
            publish(&pump, foreign("m-1", "a", 3)).await;
            // It is claimed while it waits, so no copy settles a dead letter any more.
            publish(&pump, foreign("m-1", "a", 4)).await;
            pump.advance(Duration::from_secs(4)).await;
            assert_eq!((plan.numbers("a"), states(&pump).await), (vec![0, 3, 3], vec![DeadLetterState::Replayed]));
            pump.stop().await;
        }
    }
}
