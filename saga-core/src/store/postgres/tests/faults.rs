//! Failures between the beginning and the end of a transaction.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{PATIENCE, Schema, native, note, run};
use crate::{
    id::MessageId,
    message::Record,
    store::{InboxKey, Store, StoreError, is_unavailable},
    time::{LogTime, Timestamp},
};

fn record() -> Record {
    Record { topic: "orders".into(), key: None, value: None, headers: Vec::new(), timestamp: LogTime::from_millis(1) }
}

fn key(id: &str) -> InboxKey {
    InboxKey { source: "shop".into(), id: MessageId::new(id) }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_connection_killed_in_the_middle_is_unavailable() {
    let schema = Schema::new();
    let store = schema.store().await;
    for at in 0..3 {
        let mut tx = store.begin().await.unwrap();
        note(&mut *tx, "lost").await.unwrap();
        schema.terminate().await;
        let error = match at {
            0 => tx.append_outbox("orders", &[record()]).await.unwrap_err(),
            1 => tx.commit().await.unwrap_err(),
            _ => {
                let error = note(&mut *tx, "lost too").await.unwrap_err();
                assert!(is_unavailable(&error), "{error}");
                tx.commit().await.unwrap_err()
            }
        };
        assert!(matches!(error, StoreError::Unavailable(_)), "{at}: {error}");
    }
    assert_eq!(schema.notes().await, [""; 0]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn dead_idle_connections_are_not_noticed() {
    let schema = Schema::new();
    let store = schema.store().await;
    for _ in 0..3 {
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(store.begin().await.unwrap());
        }
        let (one, other) = (store.reader().await.unwrap(), store.reader().await.unwrap());
        drop((open, one, other));
        schema.until_connections("idle", 6).await;
        schema.terminate().await;
        store.outbox("orders", 0, 1).await.expect("reading goes on");
        store.begin().await.expect("writing goes on").commit().await.expect("commit");
        store.check().await.expect("well");
        assert!(store.reader().await.expect("a reader").is_some());
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_pool_that_is_exhausted_says_so_and_the_database_is_well() {
    let schema = Schema::new();
    let store = schema.store_with(schema.options().pool(6).begin_timeout(Duration::from_secs(1))).await;
    let held = (store.begin().await.unwrap(), store.begin().await.unwrap());
    let error = store.begin().await.err().expect("no third one");
    assert!(matches!(&error, StoreError::Unavailable(reason) if reason.contains("none of 2 connections became free")), "{error}");
    store.check().await.expect("well");
    drop(held);
    store.begin().await.expect("there is room again");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_server_that_is_not_there_is_named_and_waited_for_no_longer_than_allowed() {
    let schema = Schema::new();
    let url = "postgres://sagas:hunter2@127.0.0.1:1/sagas";
    let options = url.parse::<super::PostgresOptions>().unwrap().begin_timeout(Duration::from_millis(300));
    let begun = Instant::now();
    let error = super::PostgresStore::open(options).await.unwrap_err();
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    let text = error.to_string();
    assert!(matches!(error, StoreError::Unavailable(_)), "{text}");
    assert!(text.contains("127.0.0.1:1") && !text.contains("hunter2"), "{text}");
    drop(schema);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_is_dropped_lets_go_of_its_rows_at_once() {
    let schema = Schema::new();
    let store = schema.store_with(schema.options().pool(6)).await;
    for sleeping in [false, true] {
        let mut tx = store.begin().await.unwrap();
        tx.claim("orders", &[key("m")], Timestamp::from_millis(1)).await.unwrap();
        if sleeping {
            // As a handler that exceeds its timeout.
            timeout(Duration::from_millis(50), run(&mut *tx, "SELECT pg_sleep(600)")).await.unwrap_err();
        }
        drop(tx);
        let mut next = store.begin().await.unwrap();
        let claim = [key("m")];
        let claimed = timeout(PATIENCE, next.claim("orders", &claim, Timestamp::from_millis(1))).await.expect("the row is free");
        assert_eq!(claimed.unwrap(), [true]);
    }
    schema.until_connections("active", 1 - 1).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_transaction_dropped_within_a_statement_is_rolled_back() {
    let schema = Schema::new();
    let store = schema.store_with(schema.options().pool(6)).await;
    let mut first = store.begin().await.unwrap();
    first.claim("orders", &[key("m")], Timestamp::from_millis(1)).await.unwrap();
    // The second transaction waits for the first in the server, and is dropped there.
    for _ in 0..5 {
        let mut second = store.begin().await.unwrap();
        let (claim, now) = ([key("other"), key("m")], Timestamp::from_millis(1));
        timeout(Duration::from_millis(50), second.claim("orders", &claim, now)).await.unwrap_err();
    }
    first.commit().await.unwrap();
    schema.until_connections("idle in transaction", 0).await;
    assert_eq!(store.seen("orders", &[key("m"), key("other")]).await.unwrap(), [true, false]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_transaction_that_stands_still_is_ended_by_the_server() {
    let schema = Schema::new();
    let store = schema.store_with(schema.options().idle_transaction_timeout(Duration::from_millis(100))).await;
    let mut frozen = store.begin().await.unwrap();
    frozen.claim("orders", &[key("m")], Timestamp::from_millis(1)).await.unwrap();
    let mut next = store.begin().await.unwrap();
    assert_eq!(next.claim("orders", &[key("m")], Timestamp::from_millis(1)).await.unwrap(), [true]);
    next.commit().await.unwrap();
    let error = frozen.append_outbox("orders", &[record()]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_row_is_not_waited_for_longer_than_allowed() {
    let schema = Schema::new();
    let store = schema.store_with(schema.options().lock_timeout(Duration::from_millis(100))).await;
    let mut first = store.begin().await.unwrap();
    first.claim("orders", &[key("m")], Timestamp::from_millis(1)).await.unwrap();
    let mut second = store.begin().await.unwrap();
    let error = second.claim("orders", &[key("m")], Timestamp::from_millis(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Statement(_)), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn of_two_that_wait_for_each_other_one_is_told_to_run_again() {
    let schema = Schema::new();
    let store = Arc::new(schema.store().await);
    let mut setup = store.begin().await.unwrap();
    note(&mut *setup, "a").await.unwrap();
    note(&mut *setup, "b").await.unwrap();
    setup.commit().await.unwrap();
    let (mut one, mut other) = (store.begin().await.unwrap(), store.begin().await.unwrap());
    let (a, b) = ("UPDATE notes SET text = text WHERE text = 'a'", "UPDATE notes SET text = text WHERE text = 'b'");
    run(&mut *one, a).await.unwrap();
    run(&mut *other, b).await.unwrap();
    let (first, second) = tokio::join!(
        async {
            let result = run(&mut *one, b).await;
            drop(one);
            result
        },
        async {
            let result = run(&mut *other, a).await;
            drop(other);
            result
        }
    );
    let error = first.err().or(second.err()).expect("one of them loses");
    assert!(matches!(crate::store::contention(&error), Some(StoreError::Contended(_))), "{error}");
    assert!(is_unavailable(&error), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_constraint_checked_at_the_commit_refuses_it() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.append_outbox("orders", &[record()]).await.unwrap();
    run(&mut *tx, "INSERT INTO children (parent) VALUES (7)").await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused(reason) if reason.contains("23503")), "{error}");
    assert_eq!(store.outbox("orders", 0, 10).await.unwrap(), []);
    store.begin().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_statement_that_failed_is_not_committed_over() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut tx = store.begin().await.unwrap();
    note(&mut *tx, "a").await.unwrap();
    note(&mut *tx, "a").await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused(reason) if reason.contains("return the error")), "{error}");
    // Under a savepoint the transaction continues.
    let mut tx = store.begin().await.unwrap();
    note(&mut *tx, "a").await.unwrap();
    tx.savepoint().await.unwrap();
    note(&mut *tx, "a").await.unwrap_err();
    tx.undo().await.unwrap();
    note(&mut *tx, "b").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(schema.notes().await, ["a", "b"]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_statement_dropped_half_way_leaves_the_transaction_usable() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut tx = store.begin().await.unwrap();
    note(&mut *tx, "a").await.unwrap();
    let sleep = sqlx::query("SELECT pg_sleep(0.2)").execute(native(&mut *tx));
    timeout(Duration::from_millis(20), sleep).await.unwrap_err();
    note(&mut *tx, "b").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(schema.notes().await, ["a", "b"]);
}
