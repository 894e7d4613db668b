//! On a model of a shared database. Tokio's clock is paused, so that a lease expires without waiting.

use std::sync::Arc;

use sagas::testing::conformance::store::{Subject, sharing};
use sagas_tests::eventually;
use tokio::time::Instant;

use super::*;
use crate::support::shared::SharedDatabase;

#[tokio::test]
async fn the_model_shares_as_a_database_does() {
    let open = || Subject::new(SharedDatabase::new().open().0.store().clone());
    sharing::shards_are_shared_fairly(open()).await;
    sharing::what_is_given_back_or_left_is_free_at_once(open()).await;
    sharing::a_share_whose_time_is_over_is_taken(open()).await;
    sharing::instances_that_ask_at_once_share_fairly(open()).await;
    sharing::the_backlog_is_counted_up_to_a_limit(open()).await;
}

async fn pair(database: &SharedDatabase) -> [Instance; 2] {
    let log = Arc::new(Log::default());
    let first = Instance::start(database.open().0, log.clone()).await;
    let second = Instance::start(database.open().0, log.beside()).await;
    fair(database, [8, 8]).await;
    [first, second]
}

async fn fair<const N: usize>(database: &SharedDatabase, shares: [usize; N]) {
    eventually("the shards are divided", async || (database.shares() == shares).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn shards_are_divided_and_divided_anew_when_instances_come_and_go() {
    let database = SharedDatabase::new();
    let [first, second] = pair(&database).await;
    let third = Instance::start(database.open().0, first.log.beside()).await;
    let began = Instant::now();
    eventually("three have about a third", async || {
        (database.shares().iter().all(|share| (4..=6).contains(share))).then_some(())
    })
    .await;
    assert!(began.elapsed() < LEASE, "it takes no lease to run out: {:?}", began.elapsed());
    let began = Instant::now();
    second.stop().await;
    fair(&database, [8, 8]).await;
    assert!(began.elapsed() < LEASE / 2, "what is given back is taken at once: {:?}", began.elapsed());
    third.kill();
    fair(&database, [16]).await;
    first.stop().await;
    assert!(database.shares().is_empty());
}

#[tokio::test(start_paused = true)]
async fn keys_are_in_order_though_both_commit_them() {
    let database = SharedDatabase::new();
    let [first, second] = pair(&database).await;
    in_turn([&first, &second], 40, 0..50).await;
    nothing_left(&database.open().0).await;
    for key in 0..40 {
        assert_eq!(firsts(&first.log, &format!("o{key}")), (0..50).collect::<Vec<_>>());
    }
    assert_eq!(twice(&first.log), 0);
    assert!(first.log.brought() > 100 && second.log.brought() > 100, "both send");
}

#[tokio::test(start_paused = true)]
async fn rows_in_the_shard_of_another_leave_at_its_word() {
    let database = SharedDatabase::new();
    let [first, second] = pair(&database).await;
    for number in 0..200 {
        let began = Instant::now();
        first.commit(&format!("o{number}"), number).await;
        eventually("it is sent", async || (first.log.records().len() as u32 == number + 1).then_some(())).await;
        // The owner was notified: the next periodic scan is 2 s away.
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    }
    assert!(second.log.brought() > 50);
    assert!((50..=150).contains(&database.told()), "about half were of the other: {}", database.told());
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_instance_left_is_sent_by_the_other_in_order() {
    let database = SharedDatabase::new();
    let [first, second] = pair(&database).await;
    first.log.set_down(true);
    in_turn([&first, &second], 40, 0..10).await;
    let log = second.log.clone();
    first.kill();
    let began = Instant::now();
    for key in 0..40 {
        second.commit(&format!("o{key}"), 10).await;
    }
    nothing_left(&database.open().0).await;
    assert!(began.elapsed() < LEASE * 2, "{:?}", began.elapsed());
    for key in 0..40 {
        assert_eq!(firsts(&log, &format!("o{key}")), (0..=10).collect::<Vec<_>>());
    }
    assert_eq!(twice(&log), 0);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_its_lease_stops_sending_before_it_has_run_out() {
    let database = SharedDatabase::new();
    let log = Arc::new(Log::default());
    let (cut, connection) = database.open();
    let first = Instance::start(cut, log.clone()).await;
    let second = Instance::start(database.open().0, log.beside()).await;
    fair(&database, [8, 8]).await;
    connection.cut(true);
    // The process can still commit. After its lease has expired, the other process sends all of it, once.
    tokio::time::sleep(LEASE).await;
    let brought = first.log.brought();
    in_turn([&first, &second], 40, 0..20).await;
    fair(&database, [16]).await;
    nothing_left(&database.open().0).await;
    assert_eq!((first.log.brought(), twice(&log)), (brought, 0));
    connection.cut(false);
    fair(&database, [8, 8]).await;
    in_turn([&first, &second], 40, 20..40).await;
    nothing_left(&database.open().0).await;
    for key in 0..40 {
        assert_eq!(firsts(&log, &format!("o{key}")), (0..40).collect::<Vec<_>>());
    }
    assert!(first.log.brought() > brought && twice(&log) == 0);
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_hands_over_without_a_record_sent_twice() {
    let database = SharedDatabase::new();
    let log = Arc::new(Log::default());
    let mut instances = [None, Some(Instance::start(database.open().0, log.clone()).await)];
    for round in 0..6 {
        // One process joins while both commit, and another stops.
        let (comes, stays) = (Instance::start(database.open().0, log.beside()).await, instances[1].take().unwrap());
        in_turn([&comes, &stays], 20, round * 10..round * 10 + 10).await;
        stays.stop().await;
        instances[1] = Some(comes);
    }
    nothing_left(&database.open().0).await;
    for key in 0..20 {
        assert_eq!(firsts(&log, &format!("o{key}")), (0..60).collect::<Vec<_>>());
    }
    assert_eq!(twice(&log), 0);
}

/// In real time: the wait of a failing topic is measured by the service's clock.
#[tokio::test]
async fn the_backlog_of_all_instances_counts() {
    let database = SharedDatabase::new();
    let [first, second] = pair(&database).await;
    [&first, &second].iter().for_each(|instance| instance.log.set_down(true));
    for number in 0..2_000 {
        first.commit(&format!("o{}", number % 100), number).await;
    }
    eventually("the other knows", async || second.service().begin().await.is_err().then_some(())).await;
    eventually("the metrics show it", async || (metric(second.service(), "sagas_outbox_rows", "") == 2_000.0).then_some(()))
        .await;
    [&first, &second].iter().for_each(|instance| instance.log.set_down(false));
    eventually("there is room again", async || second.service().begin().await.ok().map(drop)).await;
    nothing_left(&database.open().0).await;
    eventually("the metrics show it", async || (metric(first.service(), "sagas_outbox_rows", "") == 0.0).then_some(())).await;
}
