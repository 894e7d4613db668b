//! Two services that the tests in `real` start any number of times on the same servers. `source` increments counters by key, and
//! publishes each count in the same transaction; `sink` consumes the counts, and records every count that does not follow its
//! predecessor.
//!
//! `counters-under-test BROKER DATABASE KEYS LIMIT SEED`

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use sagas::{
    Fault,
    kafka::{Kafka, KafkaConfig},
    prelude::*,
    store::Migration,
};
use serde::{Deserialize, Serialize};
use sqlx::Row;

#[event(topic = "counts", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Counted {
    pub key: String,
    pub n: i64,
}

#[handler]
async fn take_down(On(Counted { key, n }): On<Counted>, mut tx: Tx) -> Result<(), Failure> {
    sqlx::query("INSERT INTO seen VALUES ($1, 0) ON CONFLICT (key) DO NOTHING").bind(&key).execute(&mut tx).await?;
    let follows = sqlx::query("UPDATE seen SET n = $2 WHERE key = $1 AND n = $2 - 1").bind(&key).bind(n).execute(&mut tx).await?;
    if follows.rows_affected() == 0 {
        sqlx::query("INSERT INTO surprises SELECT key, n, $2 FROM seen WHERE key = $1")
            .bind(&key)
            .bind(n)
            .execute(&mut tx)
            .await?;
    }
    Ok(())
}

const SOURCE: &[Migration] =
    &[Migration { version: 1, name: "counters", sql: "CREATE TABLE counters (key TEXT PRIMARY KEY, n BIGINT NOT NULL)" }];

const SINK: &[Migration] = &[Migration {
    version: 1,
    name: "seen",
    sql: "CREATE TABLE seen (key TEXT PRIMARY KEY, n BIGINT NOT NULL);
          CREATE TABLE surprises (key TEXT NOT NULL, last BIGINT NOT NULL, n BIGINT NOT NULL)",
}];

/// Increments one key, unless it has reached the limit. A concurrent increment waits for this commit, and its event is published
/// later.
async fn count_up(source: &ServiceHandle, key: &str, limit: i64) -> Result<(), Fault> {
    let mut work = source.begin().await?;
    sqlx::query("INSERT INTO counters VALUES ($1, 0) ON CONFLICT (key) DO NOTHING").bind(key).execute(&mut *work).await?;
    let next = sqlx::query("UPDATE counters SET n = n + 1 WHERE key = $1 AND n < $2 RETURNING n").bind(key).bind(limit);
    if let Some(row) = next.fetch_optional(&mut *work).await? {
        work.publish(&Counted { key: key.to_owned(), n: row.try_get(0)? })?;
    }
    work.commit().await?;
    Ok(())
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("counters-under-test BROKER DATABASE KEYS LIMIT SEED");
    let (broker, database): (KafkaConfig, _) = (next().parse().unwrap(), next());
    let (keys, limit, seed): (usize, i64, u64) = (next().parse().unwrap(), next().parse().unwrap(), next().parse().unwrap());
    let schema = async |name: &str| Database::open(&format!("{database}?schema={name}")).await.unwrap();
    let source = Service::new("source", schema("source").await).migrations(SOURCE).job(move |service| async move {
        let mut rng = fastrand::Rng::with_seed(seed);
        loop {
            if count_up(&service, &format!("key-{}", rng.usize(0..keys)), limit).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let sink = Service::new("sink", schema("sink").await).migrations(SINK).handlers(handlers![take_down]);
    let kafka = Kafka::connect(broker).await.unwrap();
    assert!(App::new("counters").services([source, sink]).run(kafka).await.unwrap(), "it did not end in time");
}
