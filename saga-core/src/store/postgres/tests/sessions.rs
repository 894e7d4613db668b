//! Changes of one handler to its session do not affect the next handler.

use std::{sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, Executor, Row};

use super::{PATIENCE, PostgresStore, Schema, native, note, run};
use crate::{
    failure::Fault,
    store::{Database, SqlReader, Store, StoreError, StoreTx, contention},
};

/// All state of a session, apart from its statements.
const LOOK: &str = "SELECT pg_backend_pid(), (SELECT json_agg(json_build_array(name, setting) ORDER BY name)::text FROM pg_settings),
    concat_ws(' ', current_user, session_user, current_setting('role'), current_setting('app.tenant', true),
        (SELECT count(*) FROM pg_listening_channels()),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()), (SELECT count(*) FROM pg_cursors WHERE is_holdable))";

async fn session(tx: &mut dyn StoreTx) -> (i32, Vec<String>) {
    let row = native(tx).fetch_one(sqlx::query(LOOK)).await.unwrap();
    let settings: Vec<serde_json::Value> = serde_json::from_str(&row.get::<String, _>(1)).unwrap();
    (row.get(0), settings.iter().map(ToString::to_string).chain([row.get::<String, _>(2).split_whitespace().collect()]).collect())
}

/// A store with one connection for transactions.
async fn with_one_connection(schema: &Schema) -> PostgresStore {
    schema.store_with(schema.options().pool(5).begin_timeout(PATIENCE)).await
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_a_handler_has_set_for_its_session_ends_with_its_transaction() {
    let schema = Schema::new();
    let store = with_one_connection(&schema).await;
    let mut tx = store.begin().await.unwrap();
    let first = session(&mut *tx).await;
    tx.commit().await.unwrap();
    for left in [
        "SET statement_timeout = '80ms'",
        "SET lock_timeout = 1",
        "SET synchronous_commit = off",
        "SET default_transaction_read_only = on",
        "SET default_transaction_isolation = serializable",
        "SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET client_encoding = 'LATIN1'; SET bytea_output = 'escape'",
        "SELECT set_config('app.tenant', 'another', false), set_config('work_mem', '64kB', false)",
        "SELECT set_config('role', session_user, false)",
        "SELECT set_config('session_authorization', session_user, false); SET row_security = off",
        "CREATE TEMP TABLE sagas_inbox (id INTEGER); CREATE TEMP TABLE notes (id INTEGER)",
        "LISTEN sagas; SELECT pg_advisory_lock(7), pg_advisory_lock_shared(8)",
        "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
    ] {
        for commits in [true, false] {
            let mut tx = store.begin().await.unwrap();
            run(&mut *tx, left).await.unwrap();
            match commits {
                true => tx.commit().await.unwrap(),
                false => drop(tx),
            }
            let mut next = store.begin().await.unwrap();
            let found = session(&mut *next).await;
            assert_eq!(found.0, first.0, "{left}: it is another connection");
            let differ: Vec<_> = found.1.iter().zip(&first.1).filter(|(found, first)| found != first).collect();
            assert!(differ.is_empty(), "{left}, commits: {commits}: {differ:?}");
            note(&mut *next, "written").await.unwrap();
            run(&mut *next, "SELECT pg_sleep(0.1); DELETE FROM notes").await.unwrap();
            next.commit().await.unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_was_set_after_the_end_of_a_transaction_does_not_stay_either() {
    let schema = Schema::new();
    let store = with_one_connection(&schema).await;
    for left in [
        "SET synchronous_commit = off",
        "SET default_transaction_read_only = on",
        "SELECT set_config('role', session_user, false)",
    ] {
        let mut tx = store.begin().await.unwrap();
        run(&mut *tx, format!("ROLLBACK; {left}; BEGIN").leak()).await.unwrap();
        drop(tx);
        let mut next = store.begin().await.unwrap();
        let sql = "SELECT concat_ws(' ', current_setting('synchronous_commit'), current_setting('transaction_read_only'), \
                   current_setting('role'))";
        let found: String = sqlx::query_scalar(sql).fetch_one(native(&mut *next)).await.unwrap();
        assert_eq!(found, "on off none", "{left}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_session_that_cannot_be_restored_takes_nothing_back_of_what_is_committed() {
    let schema = Schema::new();
    let store = with_one_connection(&schema).await;
    *store.connector.session.restore.write().unwrap() = "SELECT 1 / 0".into();
    let pid = "SELECT pg_backend_pid()";
    let mut tx = store.begin().await.unwrap();
    let first: i32 = sqlx::query_scalar(pid).fetch_one(native(&mut *tx)).await.unwrap();
    note(&mut *tx, "committed").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(schema.notes().await, ["committed"]);
    let mut next = store.begin().await.unwrap();
    let second: i32 = sqlx::query_scalar(pid).fetch_one(native(&mut *next)).await.unwrap();
    assert_ne!(first, second, "the connection is not used any more");
    note(&mut *next, "committed").await.unwrap_err();
    next.commit().await.unwrap_err();
    assert_eq!(schema.notes().await, ["committed"]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_a_query_leaves_on_a_connection_for_reading_is_gone() {
    let schema = Schema::new();
    let store = with_one_connection(&schema).await;
    let look = "SELECT concat_ws(' ', pg_backend_pid(), current_setting('role'), current_setting('statement_timeout'), \
                current_setting('app.tenant', true), current_setting('transaction_read_only'), (SELECT count(*) FROM pg_locks WHERE \
                locktype = 'advisory' AND pid = pg_backend_pid()))";
    let mut seen = Vec::new();
    for _ in 0..2 {
        let Some(SqlReader::Postgres(mut reader)) = store.reader().await.unwrap() else { panic!("no reader") };
        seen.push(sqlx::query_scalar::<_, String>(look).fetch_one(&mut *reader).await.unwrap());
        let left = "SELECT set_config('role', session_user, false); SET statement_timeout = '80ms'; SET app.tenant = 'another'; \
                    SELECT pg_advisory_lock(7)";
        reader.execute(sqlx::raw_sql(left)).await.unwrap();
    }
    assert_eq!(seen[0].replace("  ", " "), seen[1].replace("  ", " "));
}

/// Reads with a prepared statement, as a handler does. `within`: in its own savepoint.
async fn read(tx: &mut dyn StoreTx, within: bool) -> Result<usize, Fault> {
    use sqlx::Connection;
    let sql = "SELECT * FROM notes";
    if within {
        let mut savepoint = native(tx).begin().await?;
        return Ok(sqlx::query(sql).fetch_all(&mut *savepoint).await?.len());
    }
    Ok(sqlx::query(sql).fetch_all(native(tx)).await?.len())
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn statements_that_were_prepared_before_a_table_was_changed_are_prepared_anew() {
    for within in [false, true] {
        let schema = Schema::new();
        let store = schema.store_with(schema.options().pool(6)).await;
        let mut both = (store.begin().await.unwrap(), store.begin().await.unwrap());
        read(&mut *both.0, within).await.unwrap();
        read(&mut *both.1, within).await.unwrap();
        both.0.commit().await.unwrap();
        both.1.commit().await.unwrap();
        let mut beside = schema.beside().await;
        beside.execute(sqlx::raw_sql("ALTER TABLE notes ADD COLUMN more TEXT")).await.unwrap();
        let mut failed = 0;
        for _ in 0..6 {
            let mut tx = store.begin().await.unwrap();
            match read(&mut *tx, within).await {
                Ok(_) => tx.commit().await.unwrap(),
                Err(fault) => {
                    let error = contention(fault.error());
                    let named =
                        matches!(&error, Some(StoreError::Contended(why)) if why.contains("before its table was changed"));
                    assert!(named, "{fault}");
                    failed += 1;
                }
            }
        }
        assert_eq!(failed, 2, "within a savepoint: {within}; each connection fails once");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn the_same_on_connections_for_reading_fails_once() {
    let schema = Schema::new();
    let database = Database::new(Arc::new(with_one_connection(&schema).await));
    let (all, one) = ("SELECT * FROM notes", "SELECT * FROM notes LIMIT 1");
    let read = async |sql: &'static str| sqlx::query(sql).fetch_all(&database).await.map(drop);
    let read_one = async |sql: &'static str| sqlx::query(sql).fetch_optional(&database).await.map(drop);
    read(all).await.unwrap();
    read_one(one).await.unwrap();
    for (column, optional) in [("a", false), ("b", true)] {
        let sql = AssertSqlSafe(format!("ALTER TABLE notes ADD COLUMN {column} TEXT"));
        schema.beside().await.execute(sqlx::raw_sql(sql)).await.unwrap();
        let first = if optional { read_one(one).await } else { read(all).await };
        let fault = Fault::from(first.unwrap_err());
        assert!(contention(fault.error()).is_some(), "{fault}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        read(all).await.unwrap();
        read_one(one).await.unwrap();
    }
}
