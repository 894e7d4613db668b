//! The connection of a transaction: native, portable, and for reading.

use std::sync::Arc;

use sqlx::{Connection, Row};

use super::{Schema, note};
use crate::{
    id::IdSource,
    store::{Database, SqlReader, Store, Tx, TxSlot},
    time::Timestamp,
};

async fn lend(database: &Database) -> (Tx, TxSlot) {
    let slot = TxSlot::default();
    let open = database.store().begin().await.unwrap();
    (Tx::lend(open, slot.clone(), true, IdSource::seeded(1), Timestamp::from_millis(0)), slot)
}

async fn commit(tx: Tx, slot: &TxSlot) {
    drop(tx);
    slot.take().unwrap().tx.commit().await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_transaction_is_typed_and_portable() {
    let schema = Schema::new();
    let database = Database::new(Arc::new(schema.store().await));
    let (mut tx, slot) = lend(&database).await;
    // PostgreSQL's own types, which `sqlx::Any` does not support.
    let texts = vec!["a".to_owned(), "b".to_owned()];
    let sql = "INSERT INTO notes (text) SELECT * FROM unnest($1::text[])";
    sqlx::query(sql).bind(&texts).execute(tx.postgres().await.unwrap()).await.unwrap();
    sqlx::query("INSERT INTO notes (text) VALUES ($1)").bind("c").execute(&mut tx).await.unwrap();
    commit(tx, &slot).await;
    assert_eq!(schema.notes().await, ["a", "b", "c"]);
    let row = sqlx::query("SELECT count(*) FROM notes WHERE text > $1").bind("a").fetch_one(&database).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_transaction_of_sqlx_within_ours_is_a_savepoint() {
    let schema = Schema::new();
    let database = Database::new(Arc::new(schema.store().await));
    for round in ["a", "b"] {
        let (mut tx, slot) = lend(&database).await;
        let mut inner = tx.postgres().await.unwrap().begin().await.unwrap();
        sqlx::query("INSERT INTO notes (text) VALUES ($1)").bind(round).execute(&mut *inner).await.unwrap();
        inner.commit().await.unwrap();
        let mut inner = tx.postgres().await.unwrap().begin().await.unwrap();
        sqlx::query("INSERT INTO notes (text) VALUES ($1)").bind(round).execute(&mut *inner).await.unwrap_err();
        drop(inner);
        // The transaction survives the statement that failed in the savepoint.
        sqlx::query("INSERT INTO notes (text) VALUES ($1)").bind(format!("{round} again")).execute(&mut tx).await.unwrap();
        commit(tx, &slot).await;
    }
    assert_eq!(schema.notes().await, ["a", "a again", "b", "b again"]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn whoever_only_reads_cannot_write() {
    let schema = Schema::new();
    let database = Database::new(Arc::new(schema.store().await));
    let error = sqlx::query("INSERT INTO notes (text) VALUES ('a')").execute(&database).await.unwrap_err();
    let fault = crate::failure::Fault::from(error);
    assert!(!crate::store::is_unavailable(fault.error()), "{fault}");
    assert_eq!(schema.notes().await, [""; 0]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_read_that_is_dropped_frees_its_connection() {
    let schema = Schema::new();
    let store = schema.store_with(schema.options().pool(5)).await;
    for _ in 0..3 {
        let Some(SqlReader::Postgres(mut reader)) = store.reader().await.unwrap() else { panic!("no reader") };
        let sleep = sqlx::query("SELECT pg_sleep(600)").execute(&mut *reader);
        tokio::time::timeout(std::time::Duration::from_millis(50), sleep).await.unwrap_err();
    }
    store.check().await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_the_service_makes_lies_in_its_schema() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut tx = store.begin().await.unwrap();
    note(&mut *tx, "a").await.unwrap();
    tx.commit().await.unwrap();
    let sql = "SELECT DISTINCT schemaname::text FROM pg_tables WHERE tablename IN ('notes', 'sagas_outbox') AND schemaname = $1";
    let schemas: Vec<String> = sqlx::query_scalar(sql).bind(&schema.0).fetch_all(&mut schema.beside().await).await.unwrap();
    assert_eq!(schemas, std::slice::from_ref(&schema.0));
}
