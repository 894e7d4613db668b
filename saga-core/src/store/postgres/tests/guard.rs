//! A `COMMIT` or `ROLLBACK` among a handler's own statements does no harm.

use super::{Schema, note, run};
use crate::{
    id::MessageId,
    message::Record,
    store::{DeadLetterState, InboxKey, SqlReader, Store, StoreError},
    time::{LogTime, Timestamp},
};

fn record() -> Record {
    Record { topic: "orders".into(), key: None, value: None, headers: Vec::new(), timestamp: LogTime::from_millis(1) }
}

fn keys() -> [InboxKey; 2] {
    ["m-1", "m-2"].map(|id| InboxKey { source: "shop".into(), id: MessageId::new(id) })
}

/// Claims, runs `sql` among the handler's statements, and writes the effects of the delivery.
async fn deliver(schema: &Schema, sql: &'static str) -> (sqlx::Result<()>, [Result<(), StoreError>; 3]) {
    let store = schema.store().await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.claim("orders", &keys(), Timestamp::from_millis(1)).await.unwrap(), [true, true]);
    note(&mut *tx, "the handler's").await.unwrap();
    let ran = run(&mut *tx, sql).await;
    let appended = tx.append_outbox("orders", &[record()]).await.map(drop);
    let deleted = tx.delete_outbox(&[1]).await;
    (ran, [appended, deleted, tx.commit().await])
}

async fn nothing_is_there(schema: &Schema) {
    let store = schema.open().await;
    assert_eq!(store.seen("orders", &keys()).await.unwrap(), [false, false]);
    assert_eq!(store.outbox("orders", 0, 10).await.unwrap(), []);
    assert_eq!(schema.notes().await, [""; 0]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_commit_of_a_handler_is_refused() {
    for sql in ["COMMIT", "COMMIT; BEGIN", "COMMIT AND CHAIN", "END"] {
        let schema = Schema::new();
        let (ran, [appended, _, committed]) = deliver(&schema, sql).await;
        let error = ran.unwrap_err().to_string();
        assert!(error.contains("COMMIT among the statements of a handler was refused"), "{sql}: {error}");
        appended.unwrap_err();
        assert!(matches!(committed, Err(StoreError::Refused(_))), "{sql}: {committed:?}");
        nothing_is_there(&schema).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn after_a_rollback_of_a_handler_nothing_is_written() {
    for sql in ["ROLLBACK", "ROLLBACK; BEGIN", "ROLLBACK AND CHAIN"] {
        let schema = Schema::new();
        let (ran, [appended, deleted, committed]) = deliver(&schema, sql).await;
        ran.unwrap();
        deleted.unwrap();
        for refused in [appended, committed] {
            let error = refused.unwrap_err();
            let named = matches!(&error, StoreError::Refused(reason) if reason.contains("COMMIT or ROLLBACK among its own"));
            assert!(named, "{sql}: {error}");
        }
        nothing_is_there(&schema).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_a_transaction_that_is_gone_cannot_remove_is_not_gone() {
    let schema = Schema::new();
    let store = schema.store().await;
    for sql in ["COMMIT", "ROLLBACK"] {
        let mut tx = store.begin().await.unwrap();
        run(&mut *tx, sql).await.unwrap();
        tx.unpark(&[1]).await.unwrap_err();
        tx.settle_dead_letter("orders", &MessageId::new("d-1"), DeadLetterState::Retried, Timestamp::from_millis(0))
            .await
            .unwrap_err();
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_went_to_another_schema_is_not_committed() {
    let (schema, tenant) = (Schema::new(), Schema::new());
    drop(tenant.store().await);
    let path: &'static str = format!("SET search_path TO {}", tenant.0).leak();
    let (ran, [appended, _, committed]) = deliver(&schema, path).await;
    ran.unwrap();
    appended.unwrap();
    let error = committed.unwrap_err();
    assert!(matches!(&error, StoreError::Refused(reason) if reason.contains("has changed `search_path`")), "{error}");
    nothing_is_there(&schema).await;
    // A setting that a query makes in its session does not affect the next query.
    let store = schema.store_with(schema.options().pool(5)).await;
    let Some(SqlReader::Postgres(mut reader)) = store.reader().await.unwrap() else { panic!("no reader") };
    sqlx::Executor::execute(&mut *reader, sqlx::raw_sql(path)).await.unwrap();
    drop(reader);
    assert_eq!(store.seen("orders", &keys()).await.unwrap(), [false, false]);
    let mut elsewhere = tenant.beside().await;
    let sql = "INSERT INTO sagas_inbox (service, source, id, at) VALUES ('orders', 'shop', 'm-1', 1)";
    sqlx::query(sql).execute(&mut elsewhere).await.unwrap();
    assert_eq!(store.seen("orders", &keys()).await.unwrap(), [false, false]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_handler_may_have_its_constraints_checked() {
    let schema = Schema::new();
    let (ran, ended) = deliver(&schema, "SET CONSTRAINTS ALL IMMEDIATE").await;
    ran.unwrap();
    for result in ended {
        result.unwrap();
    }
    assert_eq!(schema.open().await.seen("orders", &keys()).await.unwrap(), [true, true]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn an_operator_may_write_to_the_tables() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut operator = schema.beside().await;
    let sql = "INSERT INTO sagas_inbox (service, source, id, at) VALUES ('orders', 'shop', 'm-1', 1)";
    sqlx::query(sql).execute(&mut operator).await.unwrap();
    assert_eq!(store.seen("orders", &keys()).await.unwrap(), [true, false]);
}
