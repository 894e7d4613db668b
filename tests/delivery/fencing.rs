//! A member that has lost its partition has no effect, and a partition that was taken away wrongly is acquired again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sagas::{message::TopicPartition, prelude::*, transport::memory::Memory};
use tokio::sync::Semaphore;

use crate::support::{
    instance::{Instance, partitions, publish},
    store::{Faults, failing},
    *,
};

/// Waits before it begins its transaction.
#[handler(timeout = "10h")]
async fn gated(
    On(placed): On<Placed>,
    work: Work,
    State(gate): State<Arc<Semaphore>>,
    meta: Meta,
    State(plan): State<Plan>,
) -> Result<(), Failure> {
    plan.note(&placed, &meta);
    gate.acquire().await?.forget();
    let mut tx = work.begin().await?;
    Ok(plan.write(&mut tx, &placed).await?)
}

/// Returns the numbers of each order, in the order in which they were written.
async fn written(database: &Database) -> BTreeMap<String, Vec<i64>> {
    let rows = sqlx::query_as::<sqlx::Any, (String, i64)>("SELECT order_id, number FROM entries ORDER BY rowid");
    let mut orders = BTreeMap::<_, Vec<_>>::new();
    for (order_id, number) in rows.fetch_all(database).await.unwrap() {
        orders.entry(order_id).or_default().push(number);
    }
    orders
}

#[tokio::test]
async fn what_a_frozen_member_does_late_has_no_effect() {
    // A wrapper, so that the first process that stops does not close it.
    let database = failing(&sqlite().await, &Faults::default());
    let clock = clock();
    let log = Memory::with_clock(clock.clone());
    let (gates, plans) = ([(); 2].map(|()| Arc::new(Semaphore::new(0))), [Plan::done().rows(), Plan::done().rows()]);
    let build = |at: usize| {
        let service = service(&database, &plans[at]).state(gates[at].clone());
        service.handlers(handlers![gated]).settings(partitions(2))
    };
    let frozen = Instance::start(build(0), &log, &clock, 1).await;
    let mut places = BTreeMap::new();
    for number in 0..40 {
        let order = format!("o{}", number % 8);
        places.insert(order.clone(), publish(&log, &order, number).await);
    }
    until("the first message of each order is in its handler", || async { plans[0].calls().len() == 8 }).await;

    frozen.log.freeze();
    let other = Instance::start(build(1), &log, &clock, 2).await;
    advance_until(&clock, "the other has a partition", || async { !plans[1].calls().is_empty() }).await;
    let moved = places[&plans[1].calls()[0].0];
    let (moved, kept): (Vec<_>, Vec<_>) = places.iter().partition(|(_, partition)| **partition == moved);
    assert!(!moved.is_empty() && !kept.is_empty());

    gates[0].add_permits(1_000);
    until("what was kept is done", || async { written(&database).await.values().map(Vec::len).sum::<usize>() >= 5 * kept.len() })
        .await;
    until("what comes late is refused", || async { frozen.fenced() >= moved.len() as f64 }).await;
    let done = written(&database).await;
    assert!(moved.iter().all(|(order, _)| !done.contains_key(*order)), "{done:?}");

    frozen.log.thaw();
    gates[1].add_permits(1_000);
    let all = || async { written(&database).await.values().map(Vec::len).sum::<usize>() == 40 };
    until("everything is done", all).await;
    for (order, numbers) in written(&database).await {
        let first = order[1..].parse::<i64>().unwrap();
        assert_eq!(numbers, (0..5).map(|turn| first + turn * 8).collect::<Vec<_>>(), "{order}");
    }
    assert!(frozen.handle.stop().await && other.handle.stop().await);
}

/// A member that came too late has raised the epochs, and then stops.
#[tokio::test]
async fn a_partition_that_was_taken_away_wrongly_is_taken_back() {
    for handlers in [handlers![writing].to_vec(), handlers![refusing].to_vec(), handlers![calling].to_vec()] {
        let (database, clock, plan) = (sqlite().await, clock(), Plan::done().rows());
        let log = Memory::with_clock(clock.clone());
        let service = service(&database, &plan).handlers(handlers).settings(partitions(4));
        let member = Instance::start(service, &log, &clock, 1).await;
        let mut places = BTreeMap::new();
        for number in 0..8 {
            let order = format!("o{number}");
            places.insert(order.clone(), publish(&log, &order, number).await);
        }
        member.quiet().await;
        let taken = [0, 1].map(|partition| TopicPartition::new("orders", partition));
        let before = database.store().acquire_partitions("payments", &taken).await.unwrap();

        for number in 8..40 {
            publish(&log, &format!("o{}", number % 8), number).await;
        }
        let kept = places.values().filter(|partition| **partition > 1).count();
        assert!((1..8).contains(&kept), "{places:?}");
        let done = |expected: usize| {
            let database = &database;
            async move { written(database).await.values().map(Vec::len).sum::<usize>() == expected }
        };
        until("the others get on", || done(8 + 4 * kept)).await;
        until("what is another's is refused", || async { member.fenced() >= 1.0 }).await;
        assert!(done(8 + 4 * kept).await, "nothing of what was taken away has an effect");

        advance_until(&clock, "it is taken back", || done(40)).await;
        member.quiet().await;
        for (order, numbers) in written(&database).await {
            let first = order[1..].parse::<i64>().unwrap();
            assert_eq!(numbers, (0..5).map(|turn| first + turn * 8).collect::<Vec<_>>(), "{order}");
        }
        assert!(plan.calls().iter().all(|(.., attempt)| *attempt == 1), "no attempt is burnt");
        let after = database.store().acquire_partitions("payments", &taken).await.unwrap();
        assert!(after.iter().zip(&before).all(|(after, before)| after.epoch == before.epoch + 2), "{before:?} {after:?}");
        assert!(member.handle.stop().await);
    }
}

/// The retry of a message whose partition has another owner does not happen here, and is not a failure.
#[tokio::test]
async fn a_parked_message_of_a_lost_partition_is_left_to_its_owner() {
    for handlers in [handlers![writing].to_vec(), handlers![calling].to_vec()] {
        let (database, clock) = (sqlite().await, clock());
        let plan = Plan::new(|_, meta| if meta.attempt < 3 { Step::Retry } else { Step::Done }).rows();
        let log = Memory::with_clock(clock.clone());
        let service = service(&database, &plan).handlers(handlers).settings(partitions(1));
        let member = Instance::start(service, &log, &clock, 1).await;
        publish(&log, "a", 0).await;
        member.quiet().await;
        clock.advance(Duration::from_secs(1));
        // Once the applied offset is stored, only the retry can find out that the partition has another owner.
        let applied = || async {
            let applied =
                sqlx::query_scalar::<sqlx::Any, Option<i64>>("SELECT applied FROM sagas_partitions WHERE topic = 'orders'");
            plan.calls().len() == 2 && applied.fetch_one(&database).await.unwrap() == Some(1)
        };
        until("it has failed again", applied).await;
        member.quiet().await;
        database.store().acquire_partitions("payments", &[TopicPartition::new("orders", 0)]).await.unwrap();
        clock.advance(Duration::from_secs(2));
        until("the retry is refused", || async { member.fenced() >= 1.0 }).await;
        let parked = database.store().parked("payments", "orders", b"a", 10).await.unwrap();
        assert_eq!(parked.iter().map(|message| message.attempts).collect::<Vec<_>>(), [2]);
        advance_until(&clock, "the partition is taken back", || async { rows(&database).await.len() == 1 }).await;
        member.quiet().await;
        assert_eq!(plan.calls().last().unwrap().2, 3);
        assert!(database.store().parked_keys("payments").await.unwrap().is_empty());
        assert!(member.handle.stop().await);
    }
}
