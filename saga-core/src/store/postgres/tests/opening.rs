//! Opening and migrating.

use std::sync::Arc;

use super::{NOTES, PostgresStore, Schema, url};
use crate::store::{Database, Store, StoreError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn instances_that_start_at_once_migrate_once() {
    let schema = Arc::new(Schema::new());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let schema = Arc::clone(&schema);
        // Each with its own pool, as processes have.
        tasks.spawn(async move { schema.store().await.close().await });
    }
    tasks.join_all().await;
    let sql = "SELECT count(*) FROM sagas_migrations WHERE name_of_set = 'notes'";
    let ran: i64 = sqlx::query_scalar(sql).fetch_one(&mut schema.beside().await).await.unwrap();
    assert_eq!(ran, 1);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_url_opens_a_schema() {
    let schema = Schema::new();
    let separator = if url().contains('?') { '&' } else { '?' };
    let database = Database::open(&format!("{}{separator}schema={}&pool=5", url(), schema.0)).await.unwrap();
    database.store().migrate().await.unwrap();
    database.store().migrate_set("notes", NOTES).await.unwrap();
    database.store().check().await.unwrap();
    assert_eq!(schema.notes().await, [""; 0]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_wrong_password_is_said_without_it() {
    let mut wrong = sqlx_core::Url::parse(&url()).unwrap();
    wrong.set_password(Some("hunter2")).unwrap();
    let Err(error) = PostgresStore::open(wrong.as_str().parse().unwrap()).await else {
        // A server with `trust` authentication accepts every password.
        return;
    };
    assert!(error.to_string().contains("check the user and the password") && !error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_database_that_is_not_there_is_named() {
    let mut missing = sqlx_core::Url::parse(&url()).unwrap();
    missing.set_path("not_there");
    let error = PostgresStore::open(missing.as_str().parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("database `not_there`") && error.to_string().contains("create it"), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn without_its_tables_a_store_says_to_migrate() {
    let schema = Schema::new();
    let store = schema.open().await;
    let error = store.outbox("orders", 0, 1).await.unwrap_err();
    assert!(matches!(&error, StoreError::Incompatible(reason) if reason.contains("migrate the database first")), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_schema_whose_name_needs_quotes_is_made() {
    let schema = Schema(format!("Test \"{}\"", std::process::id()));
    let store = PostgresStore::open(url().parse::<super::PostgresOptions>().unwrap().schema(&schema.0).unwrap()).await.unwrap();
    store.migrate().await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_migration_that_fails_leaves_nothing() {
    let schema = Schema::new();
    let store = schema.open().await;
    store.migrate().await.unwrap();
    let broken = crate::store::Migration { version: 1, name: "broken", sql: "CREATE TABLE half (id INT); SELECT no_such_thing;" };
    let error = store.migrate_set("shop", &[broken]).await.unwrap_err();
    assert!(error.to_string().contains("migration 1 (`broken`) of set `shop` failed"), "{error}");
    let sql = "SELECT to_regclass('half') IS NULL";
    assert!(sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut schema.beside().await).await.unwrap());
}
