//! On a real PostgreSQL.

use sagas_tests::schema::{Schema, drop_database};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, postgres::PgPoolOptions};

use super::{super::unit_of_work::poll_and_drop, *};

/// Opens a pool as a program with its own tables would: its `search_path` does not contain the framework's tables.
async fn pool(schema: &Schema) -> PgPool {
    let own = format!("SET search_path TO {}_own; SET lock_timeout = '60s'", schema.name());
    let options = PgPoolOptions::new().max_connections(3).after_connect(move |connection, _| {
        let own = own.clone();
        Box::pin(async move { connection.execute(sqlx::raw_sql(AssertSqlSafe(own))).await.map(drop) })
    });
    let pool = options.connect(&sagas_tests::schema::server()).await.unwrap();
    let made = format!(
        "DROP SCHEMA IF EXISTS {0}_own CASCADE; CREATE SCHEMA {0}_own; CREATE TABLE {0}_own.orders (id TEXT, number INT)",
        schema.name()
    );
    pool.execute(sqlx::raw_sql(AssertSqlSafe(made))).await.unwrap();
    pool
}

async fn remove(pool: &PgPool, schema: &Schema) {
    pool.execute(sqlx::raw_sql(AssertSqlSafe(format!("DROP SCHEMA {}_own CASCADE", schema.name())))).await.unwrap();
}

const OWN: &str = "INSERT INTO orders (id, number) VALUES ($1, $2)";

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn rows_and_events_commit_together_or_not_at_all() {
    let schema = Schema::new();
    let pump = start(&schema.open().await).await;
    let (pool, publisher) = (pool(&schema).await, pump.service("payments").publisher());
    for number in 0..9_u32 {
        let mut tx = pool.begin().await.unwrap();
        publisher.publish_in(&mut tx, &placed("a", number)).await.unwrap();
        // The `search_path` is still the program's own.
        sqlx::query(OWN).bind("a").bind(i64::from(number)).execute(&mut *tx).await.unwrap();
        let mut nested = tx.begin().await.unwrap();
        publisher.publish_in(&mut nested, &placed("a", 100 + number)).await.unwrap();
        if number % 2 == 0 {
            nested.commit().await.unwrap()
        } else {
            nested.rollback().await.unwrap()
        }
        if number % 3 == 0 { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
    }
    until_published(&pump, &[0, 100, 3, 6, 106]).await;
    pump.run_until_quiet().await;
    assert_eq!(numbers(&pump).await, [0, 100, 3, 6, 106], "once each");
    let own: Vec<i32> = sqlx::query_scalar("SELECT number FROM orders ORDER BY number").fetch_all(&pool).await.unwrap();
    assert_eq!(own, [0, 3, 6]);
    remove(&pool, &schema).await;
    pump.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn the_order_of_a_key_is_that_of_the_commits_whoever_commits() {
    let schema = Schema::new();
    let pump = start(&schema.open().await).await;
    let (pool, publisher) = (pool(&schema).await, pump.service("payments").publisher());
    for number in 0..20 {
        if number % 2 == 0 {
            let mut tx = pool.begin().await.unwrap();
            publisher.publish_in(&mut *tx, &placed("a", number)).await.unwrap();
            tx.commit().await.unwrap();
        } else {
            let mut work = pump.service("payments").begin().await.unwrap();
            work.publish(&placed("a", number)).unwrap();
            work.commit().await.unwrap();
        }
    }
    until_published(&pump, &(0..20).collect::<Vec<_>>()).await;
    remove(&pool, &schema).await;
    pump.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_is_committed_after_the_service_was_killed_is_sent_by_the_next() {
    let schema = Schema::new();
    let pump = start(&schema.open().await).await;
    let pool = pool(&schema).await;
    let mut tx = pool.begin().await.unwrap();
    pump.service("payments").publisher().publish_in(&mut tx, &placed("a", 1)).await.unwrap();
    drop(pump);
    tx.commit().await.unwrap();
    let pump = start(&schema.open().await).await;
    until_published(&pump, &[1]).await;
    remove(&pool, &schema).await;
    pump.stop().await;
}

/// The notification of the commit may arrive after the stop has begun.
#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_is_committed_right_before_a_stop_is_sent_by_it() {
    let schema = Schema::new();
    let pool = pool(&schema).await;
    for number in 0..20 {
        let pump = start(&schema.open().await).await;
        let mut tx = pool.begin().await.unwrap();
        pump.service("payments").publisher().publish_in(&mut tx, &placed("a", number)).await.unwrap();
        tx.commit().await.unwrap();
        pump.stop().await;
        let database = schema.open().await;
        assert_eq!(database.store().outbox("payments", 0, 9).await.unwrap().len(), 0, "{number}");
        database.store().close().await;
    }
    remove(&pool, &schema).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_call_that_is_given_up_leaves_the_session_as_it_was() {
    let schema = Schema::new();
    let pump = start(&schema.open().await).await;
    let (pool, publisher) = (pool(&schema).await, pump.service("payments").publisher());
    for polls in 0..6 {
        let mut tx = pool.begin().await.unwrap();
        poll_and_drop(publisher.publish_in(&mut tx, &placed("a", polls)), polls as usize).await;
        // The statement uses the program's own table, and the events published so far commit with it.
        sqlx::query(OWN).bind("a").bind(i64::from(polls)).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut tx = pool.begin().await.unwrap();
    publisher.publish_in(&mut tx, &placed("a", 99)).await.unwrap();
    tx.commit().await.unwrap();
    eventually("the last one is in the log", async || numbers(&pump).await.contains(&99).then_some(())).await;
    let own: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&pool).await.unwrap();
    assert_eq!(own, 6);
    remove(&pool, &schema).await;
    pump.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_cannot_be_joined_is_refused_with_what_helps() {
    let (schema, other) = (Schema::new(), Schema::new());
    let pump = start(&schema.open().await).await;
    let (service, pool) = (pump.service("payments"), pool(&schema).await);
    let publisher = service.publisher();
    let mut bare = pool.acquire().await.unwrap();
    let error = publisher.publish_in(&mut *bare, &placed("a", 1)).await.unwrap_err().to_string();
    assert!(error.contains("no transaction is open on the connection; begin one"), "{error}");
    drop(bare);

    // A database that has the framework's tables of another service.
    let mut server = PgConnection::connect(&sagas_tests::schema::server()).await.unwrap();
    let name = format!("{}_db", other.name());
    server.execute(sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))).await.unwrap();
    let (place, _) =
        sagas_tests::schema::server().rsplit_once('/').map(|(place, rest)| (place.to_owned(), rest.to_owned())).unwrap();
    let mut elsewhere = PgConnection::connect(&format!("{place}/{name}")).await.unwrap();
    let mut tx = elsewhere.begin().await.unwrap();
    let error = publisher.publish_in(&mut tx, &placed("a", 1)).await.unwrap_err().to_string();
    assert!(error.contains(&format!("the transaction is in the database `{name}`, which has no table")), "{error}");
    tx.rollback().await.unwrap();
    let same = Database::open(&format!("{place}/{name}?schema={}", schema.name())).await.unwrap();
    same.store().migrate().await.unwrap();
    let mut tx = elsewhere.begin().await.unwrap();
    let error = publisher.publish_in(&mut tx, &placed("a", 1)).await.unwrap_err().to_string();
    assert!(error.contains("whose outbox the service does not send"), "{error}");
    tx.rollback().await.unwrap();
    same.store().close().await;
    elsewhere.close().await.unwrap();
    drop_database(&sagas_tests::schema::server(), &name).await;

    // A transaction of the framework publishes with `Tx::publish`.
    let mut work = service.begin().await.unwrap();
    let error = publisher.publish_in(work.postgres().await.unwrap(), &placed("a", 1)).await.unwrap_err().to_string();
    assert!(error.contains("the transaction is the framework's own; publish with `Tx::publish`"), "{error}");
    work.publish(&placed("a", 2)).unwrap();
    work.commit().await.unwrap();
    until_published(&pump, &[2]).await;
    remove(&pool, &schema).await;
    pump.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_user_without_rights_is_told_which_ones_it_needs() {
    let schema = Schema::new();
    let pump = start(&schema.open().await).await;
    let (pool, publisher) = (pool(&schema).await, pump.service("payments").publisher());
    let name = schema.name();
    for right in [format!("USAGE ON SCHEMA {name}"), format!("INSERT ON {name}.sagas_outbox")] {
        let mut tx = pool.begin().await.unwrap();
        // The revocation ends with the transaction.
        tx.execute(sqlx::raw_sql(AssertSqlSafe(format!("REVOKE {right} FROM CURRENT_USER")))).await.unwrap();
        let error = publisher.publish_in(&mut tx, &placed("a", 1)).await.unwrap_err().to_string();
        assert!(error.contains("the user of the connection may not publish; `GRANT USAGE ON SCHEMA"), "{right}: {error}");
        let error = publisher.publish_in(&mut tx, &placed("a", 1)).await.unwrap_err().to_string();
        assert!(error.contains("a statement before has failed, which ends a transaction of PostgreSQL; roll it back"), "{error}");
        tx.rollback().await.unwrap();
    }
    let mut tx = pool.begin_with("BEGIN READ ONLY").await.unwrap();
    let error = publisher.publish_in(&mut tx, &placed("a", 1)).await.unwrap_err().to_string();
    assert!(error.contains("the transaction only reads; begin one that writes"), "{error}");
    remove(&pool, &schema).await;
    pump.stop().await;
}
