//! A full disk, a busy database, statements that end the transaction, and a broken connection.

use std::{sync::Arc, time::Duration};

use sqlx::SqliteConnection;

use super::{PATIENCE, note, notes, open, patient, until_waiting};
use crate::{
    message::Record,
    store::{
        SqlConnection, Store, StoreError, StoreTx, is_unavailable,
        sqlite::{SqliteOptions, SqliteStore},
    },
    time::LogTime,
};

fn connection(tx: &mut dyn StoreTx) -> &mut SqliteConnection {
    let Some(SqlConnection::Sqlite(connection)) = tx.sql() else { panic!("no connection") };
    connection
}

/// Limits the database to `pages` more pages, or removes the limit.
async fn limit(store: &SqliteStore, pages: Option<i64>) {
    let mut tx = store.begin().await.unwrap();
    let sqlite = connection(&mut *tx);
    let now: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *sqlite).await.unwrap();
    let most = pages.map_or(i64::from(u32::MAX) - 1, |pages| now + pages);
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {most}"))).execute(sqlite).await.unwrap();
    tx.commit().await.unwrap();
}

fn large(kib: usize) -> String {
    "x".repeat(kib << 10)
}

#[tokio::test]
async fn a_full_disk_makes_the_database_unavailable_and_leaves_no_half() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path()).await;
    limit(&store, Some(10)).await;
    let record = Record {
        topic: "orders".into(),
        key: None,
        value: Some(large(100).into()),
        headers: Vec::new(),
        timestamp: LogTime::default(),
    };
    let mut tx = store.begin().await.unwrap();
    note(&mut *tx, "before").await.unwrap();
    let error = tx.append_outbox("orders", std::slice::from_ref(&record)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("store.db: the disk is full"), "{error}");
    drop(tx);
    assert!(notes(&store).await.is_empty());

    limit(&store, None).await;
    let mut tx = store.begin().await.unwrap();
    tx.append_outbox("orders", &[record]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.outbox("orders", 0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_commits_by_itself_after_the_database_gave_the_transaction_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path()).await;
    limit(&store, Some(10)).await;
    let mut tx = store.begin().await.unwrap();
    note(&mut *tx, "before").await.unwrap();
    let full = note(&mut *tx, &large(100)).await.unwrap_err();
    assert!(is_unavailable(&full), "{full}");
    assert!(store.guard.lost(), "this statement makes SQLite roll everything back");
    let after = note(&mut *tx, "after").await.unwrap_err();
    assert!(is_unavailable(&after), "{after}");
    let savepoint = tx.savepoint().await.unwrap_err();
    assert!(matches!(savepoint, StoreError::Unavailable(_)), "{savepoint}");
    let commit = tx.commit().await.unwrap_err();
    assert!(matches!(commit, StoreError::Unavailable(_)), "{commit}");
    assert!(notes(&store).await.is_empty());
    limit(&store, None).await;
    write(&store, "works").await.unwrap();
    assert_eq!(notes(&store).await, ["works"]);
}

#[tokio::test]
async fn whoever_shared_the_transaction_hears_that_it_is_gone() {
    for filled_up_commits in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(patient(folder.path()).await);
        limit(&store, Some(10)).await;
        let mut first = store.begin().await.unwrap();
        note(&mut *first, "first").await.unwrap();
        let second = tokio::spawn({
            let store = Arc::clone(&store);
            async move {
                let mut tx = store.begin().await.unwrap();
                note(&mut *tx, &large(100)).await.unwrap_err();
                if filled_up_commits { tx.commit().await } else { Err(StoreError::Unavailable("dropped".into())) }
            }
        });
        until_waiting(&store, 1).await;
        let third = tokio::spawn({
            let store = Arc::clone(&store);
            async move { write(&store, "third").await }
        });
        until_waiting(&store, 2).await;
        let first = first.commit().await;
        assert!(matches!(first, Err(StoreError::Unavailable(_))), "{first:?}");
        let second = second.await.unwrap();
        assert!(matches!(second, Err(StoreError::Unavailable(_))), "{second:?}");
        third.await.unwrap().unwrap();
        assert_eq!(notes(&store).await, ["third"], "the next group is untouched");
    }
}

async fn write(store: &SqliteStore, text: &str) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    note(&mut *tx, text).await.map_err(|error| StoreError::Refused(error.to_string()))?;
    tx.commit().await
}

#[tokio::test]
async fn a_handler_cannot_end_the_transaction_with_a_statement() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path()).await;
    for sql in ["COMMIT", "ROLLBACK", "ROLLBACK; BEGIN", "COMMIT; BEGIN", "ROLLBACK; SELECT 1", "ROLLBACK; SELECT nothing"] {
        let mut tx = store.begin().await.unwrap();
        note(&mut *tx, "before").await.unwrap();
        let _ = sqlx::raw_sql(sql).execute(connection(&mut *tx)).await;
        let error = tx.append_outbox("orders", &[]).await.err();
        assert!(matches!(error, None | Some(StoreError::Refused(_))), "{sql}: {error:?}");
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "its own doing, and no outage: {sql}: {error}");
        assert!(error.to_string().contains("a COMMIT or ROLLBACK among its own statements"), "{sql}: {error}");
        assert!(notes(&store).await.is_empty(), "{sql}");
    }
    // Writes after the end of the transaction are refused.
    for sql in ["COMMIT", "ROLLBACK", "ROLLBACK; BEGIN"] {
        let mut tx = store.begin().await.unwrap();
        note(&mut *tx, "before").await.unwrap();
        let _ = sqlx::raw_sql(sql).execute(connection(&mut *tx)).await;
        let _ = note(&mut *tx, "after").await;
        tx.commit().await.unwrap_err();
        assert!(notes(&store).await.is_empty(), "{sql}");
    }
    write(&store, "works").await.unwrap();
}

#[tokio::test]
async fn who_shares_a_commit_with_one_that_ends_it_is_not_blamed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(patient(folder.path()).await);
    let mut first = store.begin().await.unwrap();
    note(&mut *first, "first").await.unwrap();
    let second = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let mut tx = store.begin().await.unwrap();
            sqlx::raw_sql("ROLLBACK").execute(connection(&mut *tx)).await.unwrap();
            tx.commit().await
        }
    });
    until_waiting(&store, 1).await;
    let first = first.commit().await;
    assert!(matches!(first, Err(StoreError::Unavailable(_))), "{first:?}");
    let second = second.await.unwrap();
    assert!(matches!(second, Err(StoreError::Refused(_))), "{second:?}");
    assert!(notes(&store).await.is_empty());
    write(&store, "works").await.unwrap();
}

#[tokio::test]
async fn beginning_does_not_wait_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(SqliteOptions::file(folder.path().join("store.db")).begin_timeout(Duration::from_millis(100))).await;
    let held = store.begin().await.unwrap();
    let error = store.begin().await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)));
    assert!(error.to_string().contains("store.db: no transaction could begin within 100 ms"), "{error}");
    held.commit().await.unwrap();
    write(&store, "works").await.unwrap();
}

#[tokio::test]
async fn another_program_that_holds_the_database_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(SqliteOptions::file(&path).begin_timeout(Duration::from_millis(100))).await;
    let other = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut other = sqlx::ConnectOptions::connect(&other).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = store.begin().await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    let begun = async {
        loop {
            match write(&store, "works").await {
                Ok(()) => break,
                Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.unwrap();
}

#[tokio::test]
async fn two_stores_on_one_file_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let stores = [Arc::new(patient(folder.path()).await), Arc::new(patient(folder.path()).await)];
    let mut tasks = tokio::task::JoinSet::new();
    for store in &stores {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for _ in 0..20 {
                write(&store, "note").await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(notes(&stores[0]).await.len(), 40);
}

#[tokio::test]
async fn a_connection_that_broke_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path()).await;
    let mut tx = store.begin().await.unwrap();
    let elsewhere = sqlx::sqlite::SqliteConnectOptions::new().in_memory(true);
    *connection(&mut *tx) = sqlx::ConnectOptions::connect(&elsewhere).await.unwrap();
    tx.commit().await.expect_err("there is no transaction on that connection");
    write(&store, "works").await.unwrap();
    assert_eq!(notes(&store).await, ["works"]);
}

#[tokio::test]
async fn a_statement_without_end_is_broken_off_with_its_unit() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path()).await;
    let endless = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)";
    for sql in [format!("{endless} SELECT count(*) FROM n"), format!("{endless} INSERT INTO notes (text) SELECT count(*) FROM n")]
    {
        let mut tx = store.begin().await.unwrap();
        note(&mut *tx, "before").await.unwrap();
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection(&mut *tx));
        tokio::time::timeout(Duration::from_millis(20), statement).await.expect_err("it has no end");
        drop(tx);
        tokio::time::timeout(PATIENCE, write(&store, "works")).await.unwrap().unwrap();
    }
    assert_eq!(notes(&store).await, ["works", "works"]);
}

#[tokio::test]
async fn closing_finishes_what_runs_and_takes_nothing_new() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(patient(folder.path()).await);
    let mut running = store.begin().await.unwrap();
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { write(&store, "waited").await }
    });
    until_waiting(&store, 1).await;
    let closing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.close().await }
    });
    note(&mut *running, "ran").await.unwrap();
    running.commit().await.unwrap();
    waiting.await.unwrap().unwrap();
    closing.await.unwrap();
    let error = store.begin().await.err().unwrap();
    assert!(error.to_string().contains("the store was closed"), "{error}");
    assert!(matches!(store.check().await, Err(StoreError::Unavailable(_))));
    store.close().await;
    drop(store);
    assert_eq!(notes(&patient(folder.path()).await).await, ["ran", "waited"]);
}
