//! An unsuitable database is refused when it is opened, or reported by the service's health.

use std::{sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

use super::{super::connect::Connector, PATIENCE, PostgresOptions, PostgresStore, Schema, native, skipped, url};
use crate::{
    message::Record,
    store::{Migrate, Store, StoreError},
    time::LogTime,
};

/// The options of `schema`, with session settings as a role or a database sets them.
fn with_settings(schema: &Schema, settings: &str) -> PostgresOptions {
    let mut options = schema.options();
    options.connect = options.connect.options(settings.split(' ').filter_map(|setting| setting.split_once('=')));
    options
}

/// A store without the checks at its opening: as if the database had changed afterwards.
fn opened_before(options: PostgresOptions) -> PostgresStore {
    PostgresStore::on(Arc::new(Connector::new(options)))
}

async fn execute(connection: &mut PgConnection, sql: String) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
}

fn record() -> Record {
    Record { topic: "orders".into(), key: None, value: None, headers: Vec::new(), timestamp: LogTime::from_millis(1) }
}

async fn refusal(options: PostgresOptions) -> String {
    PostgresStore::open(options).await.expect_err("opened").to_string()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_database_in_another_encoding_is_refused() {
    let mut server = PgConnection::connect(&url()).await.unwrap();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("test_{}_{}", encoding.to_lowercase(), std::process::id());
        let made = format!("CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
        execute(&mut server, made).await;
        let mut options: PostgresOptions = url().parse().unwrap();
        options.connect = options.connect.database(&name);
        let error = refusal(options).await;
        execute(&mut server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        assert!(error.contains(&format!("its encoding is {encoding}")) && error.contains("ENCODING 'UTF8'"), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_server_that_takes_no_writes_is_refused_and_told_by_health() {
    let schema = Schema::new();
    drop(schema.store().await);
    let read_only = with_settings(&schema, "default_transaction_read_only=on");
    let error = refusal(read_only.clone()).await;
    assert!(error.contains("it takes no writes") && error.contains("default_transaction_read_only"), "{error}");
    let store = opened_before(read_only);
    let error = store.check().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(reason) if reason.contains("it takes no writes")), "{error}");
    opened_before(schema.options()).check().await.expect("this one takes them");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_server_that_takes_no_more_connections_is_named() {
    let mut server = PgConnection::connect(&url()).await.unwrap();
    let name = format!("test_crowded_{}", std::process::id());
    execute(&mut server, format!("CREATE DATABASE {name} CONNECTION LIMIT 1")).await;
    let mut options: PostgresOptions = url().parse().unwrap();
    options.connect = options.connect.database(&name);
    options.begin_timeout = Duration::from_millis(500);
    let only = options.connect.connect().await.unwrap();
    let error = refusal(options).await;
    only.close().await.unwrap();
    execute(&mut server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
    assert!(error.contains("takes no more connections; lower `pool`") && error.contains("53300"), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn every_right_that_is_missing_is_listed() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut owner = schema.beside().await;
    store.check().await.expect("well");
    for (taken, what) in [
        (
            "REVOKE INSERT ON sagas_inbox, sagas_outbox FROM CURRENT_USER",
            "lacks rights on sagas_inbox, sagas_outbox; `GRANT SELECT, INSERT",
        ),
        ("REVOKE DELETE ON sagas_parked FROM CURRENT_USER", "lacks rights on sagas_inbox, sagas_outbox, sagas_parked;"),
        (
            "ALTER TABLE sagas_steps ENABLE ROW LEVEL SECURITY; ALTER TABLE sagas_steps FORCE ROW LEVEL SECURITY",
            "row level security hides rows of sagas_steps",
        ),
    ] {
        execute(&mut owner, taken.to_owned()).await;
        for error in [store.check().await.unwrap_err(), store.migrate().await.unwrap_err()] {
            assert!(matches!(&error, StoreError::Refused(reason) if reason.contains(what)), "{taken}: {error}");
        }
    }
    let empty = Schema::new();
    execute(&mut owner, format!("CREATE SCHEMA {0}; REVOKE CREATE ON SCHEMA {0} FROM CURRENT_USER", empty.0)).await;
    let error = refusal(empty.options()).await;
    assert!(error.contains("may not make tables in the schema; `GRANT CREATE ON SCHEMA"), "{error}");
    execute(&mut owner, format!("REVOKE USAGE ON SCHEMA {} FROM CURRENT_USER", empty.0)).await;
    let error = refusal(empty.options()).await;
    assert!(error.contains("may not use the schema; `GRANT USAGE, CREATE"), "{error}");
    let error = refusal(empty.options().migrate(Migrate::Check)).await;
    assert!(error.contains("may not use the schema; `GRANT USAGE ON SCHEMA"), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn settings_of_a_role_do_not_weaken_a_transaction() {
    let schema = Schema::new();
    let settings = "default_transaction_isolation=serializable synchronous_commit=off standard_conforming_strings=off";
    let store = schema.store_with(with_settings(&schema, settings)).await;
    let mut tx = store.begin().await.unwrap();
    for (setting, expected) in
        [("transaction_isolation", "read committed"), ("synchronous_commit", "on"), ("standard_conforming_strings", "on")]
    {
        let found: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(native(&mut *tx)).await.unwrap();
        assert_eq!(found, expected, "{setting}");
    }
    let advice = store.advice().await.unwrap();
    let about: Vec<_> = advice.iter().map(|advice| (advice.condition, advice.subject.as_str())).collect();
    assert_eq!(about, [("database_settings", "synchronous_commit")], "{advice:?}");
    assert_eq!(schema.open().await.advice().await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_pool_that_is_full_for_long_is_told() {
    let schema = Schema::new();
    let store = schema.store_with(schema.options().pool(6)).await;
    let held = (store.begin().await.unwrap(), store.begin().await.unwrap());
    assert_eq!(store.advice().await.unwrap(), [], "not for long yet");
    let told = async {
        loop {
            if let [advice] = &*store.advice().await.unwrap() {
                return advice.clone();
            }
        }
    };
    let advice = tokio::time::timeout(PATIENCE, told).await.expect("the advice arrives");
    assert_eq!((advice.condition, advice.subject.as_str(), advice.critical), ("database_pool", "pool", true));
    assert!(advice.detail.contains("all 2 connections for transactions"), "{advice:?}");
    store.check().await.expect("the database itself is well");
    drop(held);
    tokio::time::timeout(PATIENCE, async { while !store.advice().await.unwrap().is_empty() {} }).await.expect("it is over");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_migration_takes_the_time_it_takes() {
    let schema = Schema::new();
    let store = PostgresStore::open(with_settings(&schema, "statement_timeout=300")).await.unwrap();
    store.migrate().await.unwrap();
    let slow =
        crate::store::Migration { version: 1, name: "slow", sql: "CREATE TABLE slow AS SELECT pg_sleep(1)::text AS slept" };
    store.migrate_set("shop", &[slow]).await.unwrap();
    let connected = schema.options().connect_options().connect().await;
    assert!(tokio::time::timeout(Duration::from_secs(5), connected.unwrap().ping()).await.is_ok());
}

/// The server process of the next transaction.
async fn process(store: &PostgresStore) -> i32 {
    let mut tx = store.begin().await.unwrap();
    let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(native(&mut *tx)).await.unwrap();
    tx.commit().await.unwrap();
    pid
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_connection_to_a_server_that_takes_no_writes_any_more_is_given_up() {
    let schema = Schema::new();
    let store = schema.store_with(schema.options().pool(5)).await;
    let first = process(&store).await;
    // The session is as one that stays open when its server becomes a standby.
    let demoted = store.connector.transaction(&"SET default_transaction_read_only = on".into()).await.unwrap();
    demoted.hand_back();
    let error = store.begin().await.err().expect("it takes no writes");
    assert!(matches!(&error, StoreError::Unavailable(reason) if reason.contains("name the primary")), "{error}");
    assert_ne!(process(&store).await, first, "the next transaction has another connection");
    // A transaction that has already begun is not refused at its beginning.
    let mut tx = store.begin().await.unwrap();
    let second: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(native(&mut *tx)).await.unwrap();
    native(&mut *tx).execute(sqlx::raw_sql("SET TRANSACTION READ ONLY")).await.unwrap();
    let error = tx.append_outbox("orders", &[record()]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(_)), "{error}");
    drop(tx);
    assert_ne!(process(&store).await, second);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_is_refused_of_the_frameworks_tables_is_no_fault_of_a_message() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut owner = schema.beside().await;
    let on_schema = |verb: &str, from: &str| format!("{verb} USAGE ON SCHEMA {} {from} CURRENT_USER", schema.0);
    for (taken, given, fix) in [
        (
            "REVOKE INSERT ON sagas_outbox FROM CURRENT_USER".to_owned(),
            "GRANT INSERT ON sagas_outbox TO CURRENT_USER".to_owned(),
            "`GRANT SELECT, INSERT",
        ),
        (on_schema("REVOKE", "FROM"), on_schema("GRANT", "TO"), "`GRANT USAGE ON SCHEMA"),
        (
            "ALTER TABLE sagas_outbox RENAME TO outbox".to_owned(),
            "ALTER TABLE outbox RENAME TO sagas_outbox".to_owned(),
            "migrate the database",
        ),
        (
            "ALTER TABLE sagas_outbox RENAME headers TO names".to_owned(),
            "ALTER TABLE sagas_outbox RENAME names TO headers".to_owned(),
            "",
        ),
    ] {
        execute(&mut owner, taken.clone()).await;
        let answer = match store.begin().await {
            Ok(mut tx) => tx.append_outbox("orders", &[record()]).await.map(drop),
            Err(error) => Err(error),
        };
        let error = answer.expect_err(&taken);
        assert!(matches!(&error, StoreError::Unavailable(reason) if reason.contains(fix)), "{taken}: {error}");
        execute(&mut owner, given).await;
        let mut tx = store.begin().await.unwrap();
        tx.append_outbox("orders", &[record()]).await.expect("it goes on by itself");
        tx.commit().await.unwrap();
    }
    // An error in the handler's own table is the handler's.
    execute(&mut owner, "REVOKE INSERT ON notes FROM CURRENT_USER".to_owned()).await;
    let mut tx = store.begin().await.unwrap();
    let fault = crate::failure::Fault::from(super::note(&mut *tx, "a").await.unwrap_err());
    assert!(!crate::store::is_unavailable(fault.error()), "{fault}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_schema_that_may_not_be_used_any_more_is_named() {
    let schema = Schema::new();
    let store = schema.store().await;
    let (mut owner, user) = (schema.beside().await, schema.options());
    let fix = format!("or the user may not use it; `GRANT USAGE ON SCHEMA \"{0}\" TO` the user", schema.0);
    // The right is revoked during a transaction. The commit checks again in which schema its statements were run.
    let mut tx = store.begin().await.unwrap();
    execute(&mut owner, format!("REVOKE USAGE ON SCHEMA {} FROM CURRENT_USER", schema.0)).await;
    // A session sees the change when it next opens a table.
    native(&mut *tx).execute(sqlx::raw_sql("SELECT FROM pg_catalog.pg_namespace LIMIT 1")).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(reason) if reason.contains(&fix)), "{error}");
    let error = store.check().await.unwrap_err();
    assert!(error.to_string().contains("the user may not use the schema; `GRANT USAGE ON SCHEMA"), "{error}");
    // Opening the store reports it too.
    let error = PostgresStore::open(user).await.unwrap_err();
    assert!(error.to_string().contains("the user may not use the schema; `GRANT USAGE"), "{error}");
    execute(&mut owner, format!("GRANT USAGE ON SCHEMA {} TO CURRENT_USER", schema.0)).await;
    store.check().await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_a_server_says_by_its_codes_is_understood() {
    let schema = Schema::new();
    let store = schema.store().await;
    for (code, unavailable, help) in [
        ("25P04", false, "see `transaction_timeout`"),
        ("26000", true, "set `pool_mode = session`"),
        ("42P05", true, "set `pool_mode = session`"),
        ("0A000", false, "0A000"),
        ("P0001", false, "P0001"),
    ] {
        let mut tx = store.begin().await.unwrap();
        let sql = format!("DO $$ BEGIN RAISE EXCEPTION 'said' USING ERRCODE = '{code}'; END $$");
        let error = native(&mut *tx).execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap_err();
        let error = super::super::super::sql_errors::store_error("here", &error);
        assert_eq!(matches!(error, StoreError::Unavailable(_)), unavailable, "{code}: {error}");
        assert!(error.to_string().contains(help), "{code}: {error}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL 17: scripts/postgres start"]
async fn a_transaction_that_takes_too_long_for_the_server_is_named_with_the_setting() {
    let schema = Schema::new();
    let options = with_settings(&schema, "transaction_timeout=300");
    if schema.beside().await.server_version_num().is_none_or(|version| version < 170_000) {
        return skipped("servers have `transaction_timeout` since release 17");
    }
    let store = schema.store_with(options).await;
    let mut tx = store.begin().await.unwrap();
    let error = sqlx::query("SELECT pg_sleep(2)").execute(native(&mut *tx)).await.unwrap_err();
    let error = super::super::super::sql_errors::store_error("here", &error);
    assert!(error.to_string().contains("`transaction_timeout`"), "{error}");
    drop(tx);
    store.begin().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn every_table_has_a_primary_key() {
    let schema = Schema::new();
    let store = PostgresStore::open(schema.options()).await.unwrap();
    store.migrate().await.unwrap();
    // Without a primary key, no row of a table can be changed while it is part of a publication, for example for Debezium.
    let sql = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = to_regnamespace($1) AND
               oid IN (SELECT indrelid FROM pg_index WHERE indisprimary) = $2 ORDER BY 1";
    let tables = async |keyed: bool| -> Vec<String> {
        sqlx::query_scalar(sql).bind(&schema.0).bind(keyed).fetch_all(&mut schema.beside().await).await.unwrap()
    };
    assert_eq!(tables(false).await, [""; 0]);
    assert!(tables(true).await.contains(&"sagas_outbox".to_owned()));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn the_server_says_its_version() {
    let schema = Schema::new();
    let store = schema.store().await;
    let (number, version) = (schema.beside().await.server_version_num().unwrap(), store.version().await.unwrap());
    assert!(version.starts_with(&(number / 10_000).to_string()), "{number}: {version}");
}
