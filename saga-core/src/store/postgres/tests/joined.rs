//! Transactions that other code has begun, and the connections of a store.

use futures_util::StreamExt;
use sqlx::{Connection, PgConnection, PgPool};

use super::{PATIENCE, PostgresOptions, PostgresStore, Schema, url};
use crate::{
    message::{Record, Shards},
    store::{PeerNotification, Sharing, Store},
    time::LogTime,
};

fn record(key: &'static str) -> Record {
    Record { topic: "orders".into(), key: Some(key.into()), value: None, headers: Vec::new(), timestamp: LogTime::from_millis(1) }
}

/// Two records of different shards.
fn records() -> [Record; 2] {
    let first = record("a");
    let other = ["b", "c", "d", "e", "f"].map(record).into_iter().find(|other| other.shard() != first.shard());
    [first, other.expect("five keys are not all in one of 16 shards")]
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_commit_tells_the_owners_of_its_rows_and_a_rollback_does_not() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut news = store.listen("orders").await.unwrap();
    let [lost, kept] = records();
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    for (record, commits) in [(&lost, false), (&kept, true)] {
        let mut tx = connection.begin().await.unwrap();
        let mut joined = store.join((&mut tx).into()).await.unwrap();
        joined.append_outbox("orders", std::slice::from_ref(record)).await.unwrap();
        drop(joined);
        if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
    }
    let first = tokio::time::timeout(PATIENCE, news.next()).await.expect("the notification arrives").unwrap().unwrap();
    assert_eq!(first, PeerNotification::Rows([kept.shard()].into_iter().collect::<Shards>()));
    let rows: Vec<_> = store.outbox("orders", 0, 10).await.unwrap().into_iter().map(|row| row.record).collect();
    assert_eq!(rows, [kept]);
    store.close().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_store_on_the_database_of_a_pool_opens_its_own_connections_within_its_bound() {
    let schema = Schema::new();
    let pool = PgPool::connect(&url()).await.unwrap();
    let options = PostgresOptions::from_pool(&pool).schema(&schema.0).unwrap().application_name(&schema.0).pool(7);
    let store = PostgresStore::open(options).await.unwrap();
    store.migrate().await.unwrap();
    // All connections at the same time: every transaction, every reader, the coordination of processes, and `LISTEN`.
    let _news = store.listen("orders").await.unwrap();
    let transactions = [store.begin().await.unwrap(), store.begin().await.unwrap(), store.begin().await.unwrap()];
    let reader = store.reader().await.unwrap();
    let told = futures_util::future::join_all((0..8).map(|_| store.notify("orders", PeerNotification::SharesChanged)));
    assert!(told.await.iter().all(Result::is_ok));
    assert!(store.reader().await.is_err() && store.begin().await.is_err(), "no more");
    assert_eq!(schema.connections("").await, 7);
    drop((transactions, reader));
    store.close().await;
    assert_eq!(pool.size(), 1, "the pool of the program has its own");
}
