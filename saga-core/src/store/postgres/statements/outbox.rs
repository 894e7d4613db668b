//! The outbox: records that wait to be published.

use bytes::Bytes;
use sqlx::{PgConnection, Row};

use super::{
    super::text::{escaped, unescaped},
    Failed, in_unit, numbered,
};
use crate::{
    message::Record,
    store::{
        OutboxId, OutboxRow,
        headers::{decode, encode},
    },
    time::Timestamp,
};

/// Adds `rows`. The numbers are drawn after the rows were sorted, so they ascend in the order given.
pub(in crate::store::postgres) async fn append(
    connection: &mut PgConnection,
    service: &str,
    rows: &[Record],
) -> Result<Vec<OutboxId>, Failed> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let sql = concat!(
        "INSERT INTO sagas_outbox (service, topic, key, value, headers, timestamp) \
         SELECT $1, topic, key, value, headers, timestamp \
         FROM unnest($2::text[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bigint[]) \
         WITH ORDINALITY AS new (topic, key, value, headers, timestamp, place) WHERE ",
        in_unit!(),
        " ORDER BY place RETURNING id"
    );
    let ids = sqlx::query_scalar(sql)
        .bind(service)
        .bind(rows.iter().map(|record| escaped(&record.topic)).collect::<Vec<_>>())
        .bind(rows.iter().map(|record| record.key.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|record| record.value.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|record| encode(&record.headers)).collect::<Vec<_>>())
        .bind(rows.iter().map(|record| record.timestamp.as_millis()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    numbered(ids, rows.len())
}

pub(in crate::store::postgres) async fn delete(connection: &mut PgConnection, ids: &[OutboxId]) -> Result<(), Failed> {
    if !ids.is_empty() {
        let sql = concat!("DELETE FROM sagas_outbox WHERE id = ANY($1) AND ", in_unit!());
        sqlx::query(sql).bind(ids).execute(connection).await?;
    }
    Ok(())
}

pub(in crate::store::postgres) async fn after(
    connection: &mut PgConnection,
    service: &str,
    after: OutboxId,
    limit: usize,
) -> Result<Vec<OutboxRow>, Failed> {
    let sql =
        "SELECT id, topic, key, value, headers, timestamp FROM sagas_outbox WHERE service = $1 AND id > $2 ORDER BY id LIMIT $3";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query(sql).bind(service).bind(after).bind(limit).fetch_all(connection).await?;
    rows.into_iter()
        .map(|row| {
            Ok(OutboxRow {
                id: row.try_get(0)?,
                record: Record {
                    topic: unescaped(row.try_get(1)?),
                    key: row.try_get::<Option<Vec<u8>>, _>(2)?.map(Bytes::from),
                    value: row.try_get::<Option<Vec<u8>>, _>(3)?.map(Bytes::from),
                    headers: decode(row.try_get(4)?)?,
                    timestamp: Timestamp::from_millis(row.try_get(5)?),
                },
            })
        })
        .collect()
}
