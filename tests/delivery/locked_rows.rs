//! Rows that a transaction reads for a change are changed by no other transaction until it ends, on either database.

use std::time::Duration;

use sagas::{prelude::*, store::Migration, testing::Pump};
use sagas_tests::schema::Schema;
use sqlx::Row;
use tokio::task::JoinSet;

use crate::support::*;

const COUNTERS: &[Migration] = &[Migration {
    version: 1,
    name: "counters",
    sql: "CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
          INSERT INTO counters (name, value) VALUES ('a', 0);",
}];

/// The statement ends with a semicolon, which must not separate it from what is appended.
const SELECT: &str = "SELECT value FROM counters WHERE name = $1 ORDER BY name; ";

async fn add_one(service: &ServiceHandle) {
    let mut work = service.begin().await.unwrap();
    let rows = work.select_for_update(sqlx::query(SELECT).bind("a")).await.unwrap();
    let value: i64 = rows[0].try_get("value").unwrap();
    // Others read in this time.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let update = sqlx::query("UPDATE counters SET value = $1 WHERE name = 'a'").bind(value + 1);
    update.execute(&mut *work).await.unwrap();
    work.commit().await.unwrap();
}

async fn no_change_is_lost(database: Database) {
    let pump = Pump::of([Service::new("payments", database.clone()).migrations(COUNTERS)]).start().await;
    let mut adding = JoinSet::new();
    for _ in 0..8 {
        let service = pump.service("payments").clone();
        adding.spawn(async move { add_one(&service).await });
    }
    adding.join_all().await;
    let value: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'a'").fetch_one(&database).await.unwrap();
    assert_eq!(value, 8);

    let mut work = pump.service("payments").begin().await.unwrap();
    assert_eq!(work.select_for_update(sqlx::query(SELECT).bind("c")).await.unwrap().len(), 0, "no such row");
    let wrong = work.select_for_update(sqlx::query("SELECT value FROM cups")).await.err().unwrap();
    assert!(wrong.to_string().contains("cups"), "{wrong}");
    drop(work);
    pump.stop().await;
}

#[tokio::test]
async fn no_change_of_a_locked_row_is_lost_on_sqlite() {
    no_change_is_lost(sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn no_change_of_a_locked_row_is_lost_on_postgresql() {
    let schema = Schema::new();
    no_change_is_lost(Database::open(&schema.url()).await.unwrap()).await;
}
