//! Several processes of a service on one database: parked messages belong to the owner of their partition.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sagas::{handler::Handler, prelude::*, transport::memory::Memory};

use crate::support::{
    instance::{Instance, partitions, publish},
    store::{Faults, failing},
    *,
};

/// Holds its key when a message is given up.
#[handler(retry(max = 1, backoff = "1s..4s"), on_dead = "hold")]
async fn holding(On(placed): On<Placed>, meta: Meta, State(plan): State<Plan>) -> Result<(), Failure> {
    match plan.step(&placed, &meta) {
        Step::Dead => Err(Failure::dead("planned")),
        _ => Ok(()),
    }
}

async fn parked_keys(instance: &Instance) -> u64 {
    instance.service().health().report().await.checks["parkedKeys"].values["keys"].as_u64().unwrap()
}

/// Starts two processes and an order that the first has given up; returns them with the plans of both.
async fn given_up(handlers: Vec<Handler>) -> ([Instance; 2], [Plan; 2], String, Memory, sagas::time::Clock, Arc<AtomicBool>) {
    let (database, clock) = (failing(&sqlite().await, &Faults::default()), clock());
    let log = Memory::with_clock(clock.clone());
    let broken = Arc::new(AtomicBool::new(true));
    let plans = [(); 2].map(|()| {
        let broken = broken.clone();
        Plan::new(move |placed, _| if placed.number == 1 && broken.load(Ordering::SeqCst) { Step::Dead } else { Step::Done })
    });
    let start = async |at: usize| {
        let service = service(&database, &plans[at]).handlers(handlers.clone()).settings(partitions(2));
        Instance::start(service, &log, &clock, at as u64).await
    };
    let instances = [start(0).await, start(1).await];
    until("both have a partition", || async {
        for order in 0..8 {
            publish(&log, &format!("o{order}"), 0).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        plans.iter().all(|plan| !plan.calls().is_empty())
    })
    .await;
    // The orders that the second process has handled are its own; all others belong to the first.
    instances[0].quiet().await;
    let others: Vec<_> = plans[1].calls().into_iter().map(|(order, ..)| order).collect();
    let order = (0..8).map(|order| format!("o{order}")).find(|order| !others.contains(order)).unwrap();
    publish(&log, &order, 1).await;
    publish(&log, &order, 2).await;
    instances[0].quiet().await;
    assert_eq!(plans[0].numbers(&order).iter().filter(|number| **number == 1).count(), 1);
    (instances, plans, order, log, clock, broken)
}

#[tokio::test]
async fn a_dead_letter_retried_through_another_instance_is_found_by_the_owner() {
    for (handlers, held) in [(handlers![bare].to_vec(), false), (handlers![holding].to_vec(), true)] {
        let (instances, plans, order, _, clock, broken) = given_up(handlers).await;
        let before = plans[0].numbers(&order).len();
        assert_eq!(plans[0].numbers(&order).contains(&2), !held);
        let (letters, _) = instances[1].service().dead_letters(0, 10).await.unwrap();
        broken.store(false, Ordering::SeqCst);
        assert!(instances[1].service().retry_dead_letter(&letters[0].id).await.unwrap());
        assert_eq!(parked_keys(&instances[1]).await, 0, "it is not its own");

        let expected: &[u32] = if held { &[1, 2] } else { &[1] };
        advance_until(&clock, "the owner finds it", || async { plans[0].numbers(&order)[before..] == *expected }).await;
        instances[0].quiet().await;
        assert_eq!(parked_keys(&instances[0]).await, 0);
        assert!(plans[1].numbers(&order).is_empty());
        for instance in instances {
            assert!(instance.handle.stop().await);
        }
    }
}

/// A key that is held for a dead letter continues when another process discards the dead letter.
#[tokio::test]
async fn a_dead_letter_discarded_through_another_instance_lets_its_key_go_on() {
    let (instances, plans, order, log, clock, _) = given_up(handlers![holding].to_vec()).await;
    let (letters, _) = instances[1].service().dead_letters(0, 10).await.unwrap();
    assert!(instances[1].service().discard_dead_letter(&letters[0].id).await.unwrap());
    advance_until(&clock, "the owner goes on", || async { plans[0].numbers(&order).contains(&2) }).await;
    publish(&log, &order, 3).await;
    instances[0].quiet().await;
    assert_eq!(plans[0].numbers(&order).last(), Some(&3));
    for instance in instances {
        assert!(instance.handle.stop().await);
    }
}

/// A message that one process has parked is tried again by the next owner of the partition.
#[tokio::test]
async fn parked_messages_move_with_their_partition() {
    let (database, clock) = (failing(&sqlite().await, &Faults::default()), clock());
    let log = Memory::with_clock(clock.clone());
    let plans = [(); 2]
        .map(|()| Plan::new(|placed, meta| if placed.number == 0 && meta.attempt == 1 { Step::Retry } else { Step::Done }));
    let start = async |at: usize| {
        let service = service(&database, &plans[at]).handlers(handlers![bare]).settings(partitions(2));
        Instance::start(service, &log, &clock, at as u64).await
    };
    let first = start(0).await;
    for number in 0..3 {
        for order in 0..8 {
            publish(&log, &format!("o{order}"), number).await;
        }
    }
    first.quiet().await;
    assert_eq!((plans[0].calls().len(), parked_keys(&first).await), (8, 8));
    let second = start(1).await;
    until("half of the keys move", || async {
        let counts = (parked_keys(&first).await, parked_keys(&second).await);
        counts.1 > 0 && counts.0 + counts.1 == 8
    })
    .await;
    clock.advance(Duration::from_secs(1));
    until("all are tried again", || async { plans[0].calls().len() + plans[1].calls().len() == 32 }).await;
    for order in (0..8).map(|order| format!("o{order}")) {
        let calls: Vec<_> = plans.iter().flat_map(|plan| plan.numbers(&order)).collect();
        assert_eq!(calls, [0, 0, 1, 2], "{order}");
    }
    assert!(plans[1].calls().iter().any(|(_, number, attempt)| (*number, *attempt) == (0, 2)), "{:?}", plans[1].calls());
    assert!(first.handle.stop().await && second.handle.stop().await);
}
