//! The database or the log fails: no message is lost, skipped, handled twice or out of order, and no attempt is used up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sagas::{
    handler::Handler,
    prelude::*,
    testing::{
        Pump,
        faulty::{Faults as LogFaults, Faulty},
    },
    transport::memory::Memory,
};

use crate::support::{
    store::{Fault, Faults, failing},
    *,
};

fn both() -> [Vec<Handler>; 2] {
    [handlers![bare].to_vec(), handlers![calling].to_vec()]
}

#[tokio::test]
async fn a_database_that_is_down_burns_no_attempt() {
    for fault in [Fault::Begin, Fault::Claim, Fault::Append, Fault::Commit, Fault::LoseAnswer] {
        for handlers in both() {
            for database in databases().await {
                let (faults, plan) = (Faults::default(), Plan::done());
                let inside = failing(&database, &faults);
                let pump = Pump::of([service(&inside, &plan).handlers(handlers.clone())]).start().await;
                let failures = Arc::new(AtomicUsize::new(0));
                let count = failures.clone();
                faults.set(move |asked| asked == fault && count.fetch_add(1, Ordering::SeqCst) < 12);
                for number in 0..20 {
                    pump.publish(&placed(&format!("o{}", number % 3), number)).await;
                }
                let failed = || async { failures.load(Ordering::SeqCst) >= 12 };
                advance_until(pump.clock(), "the database has failed often", failed).await;
                settle(&pump, &["payments"]).await;
                let numbers: Vec<_> = pump.published::<Charged>().await.into_iter().filter(|c| c.order_id == "o0").collect();
                assert_eq!(numbers.iter().map(|c| c.number).collect::<Vec<_>>(), [0, 3, 6, 9, 12, 15, 18], "{fault:?}");
                assert_eq!(pump.published::<Charged>().await.len(), 20, "{fault:?}");
                assert!(plan.calls().iter().all(|(.., attempt)| *attempt == 1), "{fault:?}");
                assert!(pump.service("payments").dead_letters(0, 1).await.unwrap().0.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn publishing_is_unavailable_while_the_database_is_down() {
    let (faults, plan) = (Faults::default(), Plan::done());
    let database = failing(&Database::memory(), &faults);
    let pump = Pump::of([service(&database, &plan).handlers(handlers![bare])]).start().await;
    faults.set(|fault| fault == Fault::Begin);
    let refusal = pump.service("payments").begin().await.err().unwrap().to_string();
    assert!(refusal.contains("cannot take work now"), "{refusal}");
    faults.clear();
    assert!(pump.service("payments").begin().await.is_ok());
}

/// A message whose parking commits but whose answer is lost is tried again.
#[tokio::test]
async fn what_a_commit_without_an_answer_has_parked_is_tried_again() {
    for handlers in both() {
        for database in databases().await {
            let faults = Faults::default();
            let plan = Plan::new(|placed, meta| if placed.number == 0 && meta.attempt == 1 { Step::Retry } else { Step::Done });
            let inside = failing(&database, &faults);
            let pump = Pump::of([service(&inside, &plan).handlers(handlers.clone())]).start().await;
            let lost = Arc::new(AtomicUsize::new(0));
            let count = lost.clone();
            faults.set(move |fault| fault == Fault::LoseAnswer && count.fetch_add(1, Ordering::SeqCst) == 0);
            for number in 0..4 {
                pump.publish(&placed("a", number)).await;
            }
            settle(&pump, &["payments"]).await;
            assert!(lost.load(Ordering::SeqCst) > 0);
            assert_eq!(plan.numbers("a"), [0, 0, 1, 2, 3]);
        }
    }
}

#[tokio::test]
async fn rows_in_doubt_are_settled() {
    for fault in [Fault::Commit, Fault::LoseAnswer] {
        for database in databases().await {
            let faults = Faults::default();
            let inside = failing(&database, &faults);
            let pump = Pump::of([service(&inside, &Plan::done()).handlers(handlers![bare])]).start().await;
            faults.set(move |asked| asked == fault);
            let mut work = pump.service("payments").begin().await.unwrap();
            work.publish(&placed("a", 1)).unwrap();
            assert!(work.commit().await.is_err());
            faults.clear();
            let mut work = pump.service("payments").begin().await.unwrap();
            work.publish(&placed("a", 2)).unwrap();
            work.commit().await.unwrap();
            settle(&pump, &["payments"]).await;
            let published: Vec<_> = pump.published::<Placed>().await.iter().map(|placed| placed.number).collect();
            let expected = if fault == Fault::Commit { vec![2] } else { vec![1, 2] };
            assert_eq!(published, expected, "{fault:?}");
        }
    }
}

/// A handler that finds the database unavailable has not failed.
#[handler(retry(max = 1, backoff = "1s..1s"))]
async fn reading(On(placed): On<Placed>, meta: Meta, State(plan): State<Plan>) -> Result<Charged, Failure> {
    if plan.step(&placed, &meta) == Step::Retry {
        return Err(sagas::store::StoreError::Unavailable("as a reader says".to_owned()).into());
    }
    Ok(Charged { order_id: placed.order_id, number: placed.number })
}

#[tokio::test]
async fn a_handler_that_finds_the_database_unavailable_has_used_no_attempt() {
    for database in databases().await {
        let plan =
            Plan::new(|_, meta| if meta.now < clock().now().after(Duration::from_secs(60)) { Step::Retry } else { Step::Done });
        let pump = Pump::of([service(&database, &plan).handlers(handlers![reading])]).start().await;
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        for _ in 0..70 {
            pump.advance(Duration::from_secs(1)).await;
        }
        assert!(plan.calls().len() > 10 && plan.calls().iter().all(|(.., attempt)| *attempt == 1));
        assert_eq!(pump.published::<Charged>().await.len(), 1);
    }
}

#[tokio::test]
async fn a_log_that_takes_records_now_and_then_gets_them_in_order() {
    for (what, faults) in [
        ("before storing", LogFaults { fail_publish: 0.5, ..LogFaults::default() }),
        ("in the middle", LogFaults { cut_publish: 0.5, ..LogFaults::default() }),
        ("after storing", LogFaults { lose_answer: 0.5, ..LogFaults::default() }),
    ] {
        for database in databases().await {
            let (clock, plan) = (clock(), Plan::done());
            let log = Arc::new(Faulty::new(Arc::new(Memory::with_clock(clock.clone())), LogFaults::default(), 5, clock.clone()));
            let pump = Pump::of([service(&database, &plan).handlers(handlers![bare])]).on(log.clone()).clock(clock).start().await;
            log.set(faults.clone());
            for number in 0..60 {
                let mut work = pump.service("payments").begin().await.unwrap();
                work.publish(&placed(&format!("o{}", number % 3), number)).unwrap();
                work.commit().await.unwrap();
            }
            settle(&pump, &["payments"]).await;
            for key in 0..3 {
                let expected: Vec<_> = (0..60).filter(|number| number % 3 == key).collect();
                assert_eq!(plan.numbers(&format!("o{key}")), expected, "{what}");
                let order = format!("o{key}");
                let mut published: Vec<_> =
                    pump.published::<Charged>().await.into_iter().filter(|c| c.order_id == order).map(|c| c.number).collect();
                // A record whose acknowledgement was lost is sent again, with those behind it; the first occurrences are in
                // order.
                let mut seen = std::collections::HashSet::new();
                published.retain(|number| seen.insert(*number));
                assert_eq!(published, expected, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn offsets_that_cannot_be_committed_are_not_asked_for_without_end() {
    let (clock, plan) = (clock(), Plan::done());
    let faults = LogFaults { fail_commit: 1.0, ..LogFaults::default() };
    let log = Arc::new(Faulty::new(Arc::new(Memory::with_clock(clock.clone())), faults, 5, clock.clone()));
    let pump =
        Pump::of([service(&Database::memory(), &plan).handlers(handlers![bare])]).on(log.clone()).clock(clock).start().await;
    for number in 0..10 {
        pump.publish(&placed("a", number)).await;
    }
    until("all are handled", || async { plan.calls().len() == 10 }).await;
    log.set(LogFaults::default());
    settle(&pump, &["payments"]).await;
    assert_eq!(plan.calls().len(), 10);
}
