//! The outbox: records that wait to be published.

use bytes::Bytes;
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    super::text::{escaped, unescaped},
    Failed, in_unit, numbered,
    sharing::numbers,
    tables::Tables,
};
use crate::{
    message::{Record, Shards},
    store::{
        OutboxId, OutboxRow,
        headers::{decode_or_keep, encode},
    },
    time::LogTime,
};

/// Adds `rows`. The ids are generated after the rows are sorted, so they ascend in the order given.
pub(in crate::store::postgres) async fn append(
    connection: &mut PgConnection,
    tables: Tables<'_>,
    service: &str,
    rows: &[Record],
) -> Result<Vec<OutboxId>, Failed> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let sql = concat!(
        "INSERT INTO sagas_outbox (service, topic, key, value, headers, timestamp, shard) \
         SELECT $1, topic, key, value, headers, timestamp, shard \
         FROM unnest($2::text[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bigint[], $7::smallint[]) \
         WITH ORDINALITY AS new (topic, key, value, headers, timestamp, shard, place) WHERE ",
        in_unit!(),
        " ORDER BY place RETURNING id"
    );
    let ids = sqlx::query_scalar(tables.of(sql))
        .bind(service)
        .bind(rows.iter().map(|record| escaped(&record.topic)).collect::<Vec<_>>())
        .bind(rows.iter().map(|record| record.key.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|record| record.value.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|record| encode(&record.headers)).collect::<Vec<_>>())
        .bind(rows.iter().map(|record| record.timestamp.as_millis()).collect::<Vec<_>>())
        .bind(rows.iter().map(|record| i16::from(record.shard().number())).collect::<Vec<_>>())
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
    rows.into_iter().map(row).collect()
}

/// Returns rows of `shards` that are not in `known`. For each shard, the index returns the first rows, and no others are read.
pub(in crate::store::postgres) async fn of_shards(
    connection: &mut PgConnection,
    service: &str,
    shards: Shards,
    known: &[OutboxId],
    limit: usize,
) -> Result<Vec<OutboxRow>, Failed> {
    let sql = "SELECT id, topic, key, value, headers, timestamp \
               FROM unnest($2::smallint[]) AS wanted (number) CROSS JOIN LATERAL ( \
                   SELECT * FROM sagas_outbox \
                   WHERE service = $1 AND shard = wanted.number AND id NOT IN (SELECT unnest($3::bigint[])) \
                   ORDER BY id LIMIT $4) AS found \
               ORDER BY id";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query(sql).bind(service).bind(numbers(shards)).bind(known).bind(limit);
    query.fetch_all(connection).await?.into_iter().map(row).collect()
}

fn row(row: PgRow) -> Result<OutboxRow, Failed> {
    let (headers, unreadable) = decode_or_keep(row.try_get(4)?);
    Ok(OutboxRow {
        id: row.try_get(0)?,
        record: Record {
            topic: unescaped(row.try_get(1)?),
            key: row.try_get::<Option<Vec<u8>>, _>(2)?.map(Bytes::from),
            value: row.try_get::<Option<Vec<u8>>, _>(3)?.map(Bytes::from),
            headers,
            timestamp: LogTime::from_millis(row.try_get(5)?),
        },
        unreadable,
    })
}
