//! The write-ahead log stays small while connections read.

use std::path::Path;

use sqlx::{Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{PATIENCE, note, open};
use crate::{
    sqlite::log_bytes,
    store::{Store, sqlite::SqliteOptions},
};

async fn reader(file: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file).read_only(true)).await.unwrap()
}

async fn begin(reader: &mut SqliteConnection) {
    reader.execute("BEGIN; SELECT count(*) FROM notes").await.unwrap();
}

#[tokio::test]
async fn the_log_is_begun_again_though_somebody_always_reads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let store = open(SqliteOptions::file(&file).begin_timeout(PATIENCE).log_mib(1)).await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let (mut one, mut other) = (reader(&file).await, reader(&file).await);
    // At every moment, one of the two connections has an open transaction.
    let reading = tokio::spawn(async move {
        begin(&mut one).await;
        while stopped.try_recv().is_err() {
            begin(&mut other).await;
            one.execute("COMMIT").await.unwrap();
            begin(&mut one).await;
            other.execute("COMMIT").await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let text = "x".repeat(8_000);
    // On a busy machine the writer may not find a moment without readers, and retries later. So the test waits until it first succeeds.
    let begun_again = tokio::time::timeout(PATIENCE, async {
        let mut largest = 0;
        loop {
            let mut tx = store.begin().await.unwrap();
            note(&mut *tx, &text).await.unwrap();
            tx.commit().await.unwrap();
            let log = log_bytes(&file).await;
            if log < largest {
                return largest;
            }
            largest = log;
        }
    });
    let largest = begun_again.await.expect("the log was not begun again");
    assert!(largest > 1 << 20, "the log was begun again at {largest} bytes, which is no more than its limit");
    let _ = stop.send(());
    reading.await.unwrap();
}

#[tokio::test]
async fn a_reader_that_stays_makes_the_log_grow_and_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let store = open(SqliteOptions::file(&file).begin_timeout(PATIENCE).log_mib(1)).await;
    let mut reader = reader(&file).await;
    begin(&mut reader).await;
    let text = "x".repeat(64_000);
    for _ in 0..100 {
        let mut tx = store.begin().await.unwrap();
        note(&mut *tx, &text).await.unwrap();
        tx.commit().await.unwrap();
    }
    let advice = store.advice().await.unwrap();
    assert!(
        matches!(&*advice, [advice] if advice.condition == "write_ahead_log" && advice.detail.contains("store.db")),
        "{advice:?}"
    );
    reader.execute("COMMIT").await.unwrap();
    for _ in 0..1_200 {
        let mut tx = store.begin().await.unwrap();
        note(&mut *tx, "x").await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(store.advice().await.unwrap(), []);
}
