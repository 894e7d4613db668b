//! Concurrent epochs, with the row locks of PostgreSQL.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{PATIENCE, Schema};
use crate::{
    message::{Record, TopicPartition},
    store::{Ownership, Store},
    time::LogTime,
};

fn record() -> Record {
    Record { topic: "orders".into(), key: None, value: None, headers: Vec::new(), timestamp: LogTime::from_millis(1) }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn noting_an_offset_waits_for_no_transaction() {
    let schema = Schema::new();
    let store = schema.store().await;
    let partition = TopicPartition::new("orders", 0);
    let owned = store.acquire_partitions("payments", std::slice::from_ref(&partition)).await.unwrap().remove(0);
    let mut lanes = Vec::new();
    for _ in 0..3 {
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.check_ownership("payments", &[(partition.clone(), owned.epoch)]).await.unwrap(), [true]);
        lanes.push(tx);
    }
    let applied = [Ownership { applied: Some(7), ..owned.clone() }];
    assert_eq!(timeout(PATIENCE, store.advance("payments", &applied)).await.expect("it does not wait").unwrap(), [true]);
    for tx in lanes {
        tx.commit().await.unwrap();
    }
    assert_eq!(store.acquire_partitions("payments", &[partition]).await.unwrap()[0].applied, Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn no_commit_of_a_former_owner_comes_after_the_next_has_begun() {
    let schema = Schema::new();
    let store = Arc::new(schema.store().await);
    let partition = TopicPartition::new("orders", 0);
    let mut epoch = store.acquire_partitions("payments", std::slice::from_ref(&partition)).await.unwrap()[0].epoch;
    for _ in 0..20 {
        let lanes: Vec<_> = (0..4)
            .map(|_| {
                let (store, partition) = (Arc::clone(&store), partition.clone());
                tokio::spawn(async move {
                    let mut committed = 0;
                    loop {
                        let mut tx = store.begin().await.unwrap();
                        tx.append_outbox("payments", &[record()]).await.unwrap();
                        if tx.check_ownership("payments", &[(partition.clone(), epoch)]).await.unwrap() != [true] {
                            return committed;
                        }
                        tx.commit().await.unwrap();
                        committed += 1;
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let taken = store.acquire_partitions("payments", std::slice::from_ref(&partition)).await.unwrap().remove(0);
        // From here on, no row of the previous owner appears.
        let there = store.outbox("payments", 0, 100_000).await.unwrap().len();
        for lane in lanes {
            lane.await.unwrap();
        }
        assert_eq!(store.outbox("payments", 0, 100_000).await.unwrap().len(), there);
        assert!(taken.epoch > epoch);
        epoch = taken.epoch;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn an_epoch_is_found_lost_also_by_who_has_waited_for_it() {
    let schema = Schema::new();
    let store = schema.store().await;
    let partition = TopicPartition::new("orders", 0);
    let owned = store.acquire_partitions("payments", std::slice::from_ref(&partition)).await.unwrap().remove(0);
    // Another transaction acquires the partition and has not committed yet.
    let mut taking = schema.beside().await;
    let sql = "BEGIN; UPDATE sagas_partitions SET epoch = epoch + 1";
    sqlx::Executor::execute(&mut taking, sqlx::raw_sql(sql)).await.unwrap();
    let mut late = store.begin().await.unwrap();
    let held = tokio::spawn(async move { late.check_ownership("payments", &[(partition, owned.epoch)]).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!held.is_finished(), "it does not wait for the epoch that is being raised");
    sqlx::Executor::execute(&mut taking, sqlx::raw_sql("COMMIT")).await.unwrap();
    assert_eq!(held.await.unwrap().unwrap(), [false]);
}
