//! The outbox: records that wait to be published.

use bytes::Bytes;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{Failed, json, portions, values};
use crate::{
    message::Record,
    store::{
        OutboxId, OutboxRow, StoreError,
        headers::{decode_or_keep, encode},
    },
    time::LogTime,
};

/// Adds `rows`. One statement numbers its rows consecutively, so the last id determines all ids.
pub(in crate::store::sqlite) async fn append(
    connection: &mut SqliteConnection,
    service: &str,
    rows: &[Record],
) -> Result<Vec<OutboxId>, Failed> {
    let mut ids = Vec::with_capacity(rows.len());
    for portion in portions(rows) {
        let sql = format!(
            "INSERT INTO sagas_outbox (service, topic, key, value, headers, timestamp) VALUES {}",
            values(portion.len(), 1, 5)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service);
        for record in portion {
            query = query
                .bind(&record.topic)
                .bind(record.key.as_deref())
                .bind(record.value.as_deref())
                .bind(encode(&record.headers))
                .bind(record.timestamp.as_millis());
        }
        ids.extend(numbered(&query.execute(&mut *connection).await?, portion.len())?);
    }
    Ok(ids)
}

/// The ids of the `rows` rows that one statement inserted.
pub(super) fn numbered(done: &sqlx::sqlite::SqliteQueryResult, rows: usize) -> Result<std::ops::RangeInclusive<i64>, Failed> {
    let last = done.last_insert_rowid();
    let count = i64::try_from(rows).ok().filter(|count| done.rows_affected() == *count as u64 && last >= *count);
    let count =
        count.ok_or_else(|| StoreError::Refused("rows were not numbered as they were inserted; are there triggers?".into()))?;
    Ok(last - count + 1..=last)
}

pub(in crate::store::sqlite) async fn delete(connection: &mut SqliteConnection, ids: &[OutboxId]) -> Result<(), Failed> {
    if !ids.is_empty() {
        let sql = "DELETE FROM sagas_outbox WHERE id IN (SELECT value FROM json_each(?1))";
        sqlx::query(sql).bind(json(ids)).execute(connection).await?;
    }
    Ok(())
}

pub(in crate::store::sqlite) async fn after(
    connection: &mut SqliteConnection,
    service: &str,
    after: OutboxId,
    limit: usize,
) -> Result<Vec<OutboxRow>, Failed> {
    let sql =
        "SELECT id, topic, key, value, headers, timestamp FROM sagas_outbox WHERE service = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query(sql).bind(service).bind(after).bind(limit).fetch_all(connection).await?;
    rows.into_iter()
        .map(|row| {
            let (headers, unreadable) = decode_or_keep(row.try_get(4)?);
            Ok(OutboxRow {
                id: row.try_get(0)?,
                record: Record {
                    topic: row.try_get(1)?,
                    key: row.try_get::<Option<Vec<u8>>, _>(2)?.map(Bytes::from),
                    value: row.try_get::<Option<Vec<u8>>, _>(3)?.map(Bytes::from),
                    headers,
                    timestamp: LogTime::from_millis(row.try_get(5)?),
                },
                unreadable,
            })
        })
        .collect()
}
