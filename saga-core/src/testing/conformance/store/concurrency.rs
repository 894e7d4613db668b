//! Concurrent transactions, and transactions that are dropped.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    Subject,
    samples::{at, key, record},
};
use crate::store::{OutboxId, Store, StoreError};

/// Checks that each of fifty concurrent transactions commits exactly once.
///
/// # Panics
/// Panics if the check fails.
pub async fn fifty_transactions_commit_once_each(subject: Subject) {
    let store = subject.migrated().await;
    let mut tasks = JoinSet::new();
    for number in 0..50 {
        let store = Arc::clone(store);
        tasks.spawn(async move { publish(&store, "orders", number).await });
    }
    let mut ids: Vec<OutboxId> = tasks.join_all().await.concat();
    ids.sort_unstable();
    let rows = store.outbox("orders", 0, 100).await.expect("read");
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ids);
    let mut records: Vec<_> = rows.into_iter().map(|row| row.record.value).collect();
    records.sort_unstable();
    records.dedup();
    assert_eq!(records.len(), 50);
}

/// Checks that a message that many transactions claim is new to exactly one.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_message_claimed_by_many_is_new_to_one(subject: Subject) {
    let store = subject.migrated().await;
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let mut tx = store.begin().await.expect("begin");
            let new = tx.claim("orders", &[key(1)], at(1)).await.expect("claim");
            tx.commit().await.expect("commit");
            new
        });
    }
    let new = tasks.join_all().await.concat();
    assert_eq!(new.into_iter().filter(|new| *new).count(), 1);
}

/// Checks that a transaction that begins after another has committed gets higher ids. A reader that has read up to an id has then missed
/// nothing.
///
/// # Panics
/// Panics if the check fails.
pub async fn ids_ascend_as_transactions_commit(subject: Subject) {
    let store = subject.migrated().await;
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let mut last = 0;
            for number in 0..25 {
                let before = store.outbox("orders", 0, 1_000).await.expect("read").last().map_or(0, |row| row.id);
                let ids = publish(&store, "orders", task * 100 + number).await;
                assert!(ids[0] > last && ids[0] > before, "{ids:?} after {last} and {before}");
                last = ids[0];
            }
        });
    }
    tasks.join_all().await;
}

/// Checks that a commit completes when its future is dropped after it was polled.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_commit_that_nobody_waits_for_goes_on(subject: Subject) {
    let store = subject.migrated().await;
    for number in 0..20 {
        let mut tx = store.begin().await.expect("begin");
        tx.append_outbox("orders", &[record(number)]).await.expect("append");
        let mut commit = pin!(tx.commit());
        if let Poll::Ready(result) = commit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            result.expect("commit");
        }
    }
    let all = async {
        while store.outbox("orders", 0, 100).await.expect("read").len() < 20 {
            // Each of these commits waits, which gives the others time.
            store.begin().await.expect("begin").commit().await.expect("commit");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("a commit did not go on");
}

/// Checks that a transaction that is dropped at any point, even within a statement, leaves nothing behind and blocks no other.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_transaction_dropped_anywhere_blocks_nobody(subject: Subject) {
    let store = subject.migrated().await;
    let mut rng = fastrand::Rng::with_seed(7);
    let mut committed = 0;
    for _ in 0..200 {
        let polls = rng.usize(0..40);
        // Another transaction runs at the same time, so that the two interfere.
        let beside = tokio::spawn({
            let store = Arc::clone(store);
            async move { publish(&store, "beside", 1).await }
        });
        if let Some(result) = polled(polls, several_statements(store)).await {
            result.expect("everything in time");
            committed += 1;
        }
        beside.await.expect("the other one commits");
    }
    store.begin().await.expect("begin").commit().await.expect("commit");
    let rows = store.outbox("orders", 0, 10_000).await.expect("read").len();
    assert_eq!(rows % 3, 0, "half a transaction is there");
    assert!(rows / 3 >= committed, "{committed} were committed, {} are there", rows / 3);
    assert_eq!(store.outbox("beside", 0, 10_000).await.expect("read").len(), 200);
}

async fn publish(store: &Arc<dyn Store>, service: &str, number: usize) -> Vec<OutboxId> {
    let mut tx = store.begin().await.expect("begin");
    let ids = tx.append_outbox(service, &[record(number)]).await.expect("append");
    tx.commit().await.expect("commit");
    ids
}

async fn several_statements(store: &Arc<dyn Store>) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.append_outbox("orders", &[record(1)]).await?;
    tx.savepoint().await?;
    tx.append_outbox("orders", &[record(2)]).await?;
    tx.undo().await?;
    tx.append_outbox("orders", &[record(2), record(3)]).await?;
    tx.commit().await
}

/// Polls `future` at most `times` times, each time when it is woken, and then drops it.
async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        let poll = future.as_mut().poll(context).map(Some);
        if poll.is_pending() && left == 0 {
            return Poll::Ready(None);
        }
        poll
    })
    .await
}
