//! Parked messages.

use std::collections::HashSet;

use bytes::Bytes;
use sqlx::{PgConnection, Row};

use super::{
    super::text::{escaped, unescaped},
    Failed, gone, in_unit, numbered,
    received::{self, columns},
    unreadable,
};
use crate::{
    message::Received,
    store::{ParkedId, ParkedKey, ParkedMessage},
    time::Timestamp,
};

pub(in crate::store::postgres) async fn park(
    connection: &mut PgConnection,
    service: &str,
    messages: &[ParkedMessage],
) -> Result<Vec<ParkedId>, Failed> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let sql = concat!(
        "INSERT INTO sagas_parked (service, key, attempts, due, error, seen, ",
        columns!(),
        ") SELECT $1, key, attempts, due, error, seen, ",
        columns!(),
        " FROM unnest($2::bytea[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], \
         $7::text[], $8::int[], $9::bigint[], $10::bytea[], $11::bytea[], $12::bytea[], $13::bigint[]) \
         WITH ORDINALITY AS new (key, attempts, due, error, seen, ",
        columns!(),
        ", place) WHERE ",
        in_unit!(),
        " ORDER BY place RETURNING id"
    );
    let query = sqlx::query(sql)
        .bind(service)
        .bind(messages.iter().map(|message| message.key().to_vec()).collect::<Vec<_>>())
        .bind(messages.iter().map(|message| i64::from(message.attempts)).collect::<Vec<_>>())
        .bind(messages.iter().map(|message| message.due.as_millis()).collect::<Vec<_>>())
        .bind(messages.iter().map(|message| escaped(&message.error)).collect::<Vec<_>>())
        .bind(messages.iter().map(|message| message.seen.as_millis()).collect::<Vec<_>>());
    let received: Vec<_> = messages.iter().map(|message| &message.received).collect();
    let rows = received::bind(query, &received).fetch_all(connection).await?;
    numbered(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?, messages.len())
}

pub(in crate::store::postgres) async fn repark(
    connection: &mut PgConnection,
    id: ParkedId,
    attempts: u32,
    due: Timestamp,
    error: &str,
) -> Result<(), Failed> {
    let sql = concat!("UPDATE sagas_parked SET attempts = $2, due = $3, error = $4 WHERE id = $1 AND ", in_unit!());
    sqlx::query(sql).bind(id).bind(i64::from(attempts)).bind(due.as_millis()).bind(escaped(error)).execute(connection).await?;
    Ok(())
}

pub(in crate::store::postgres) async fn release(
    connection: &mut PgConnection,
    ids: &[ParkedId],
    due: Timestamp,
) -> Result<(), Failed> {
    let sql =
        concat!("UPDATE sagas_parked SET attempts = 0, due = $2, seen = $2, error = '' WHERE id = ANY($1) AND ", in_unit!());
    sqlx::query(sql).bind(ids).bind(due.as_millis()).execute(connection).await?;
    Ok(())
}

pub(in crate::store::postgres) async fn replace(
    connection: &mut PgConnection,
    id: ParkedId,
    received: &Received,
    due: Timestamp,
) -> Result<(), Failed> {
    let sql = concat!(
        "UPDATE sagas_parked SET attempts = 0, due = $2, seen = $2, error = '', (",
        columns!(),
        ") = (SELECT ",
        columns!(),
        " FROM unnest($3::text[], $4::int[], $5::bigint[], $6::bytea[], $7::bytea[], $8::bytea[], $9::bigint[]) AS new (",
        columns!(),
        ")) WHERE id = $1 AND ",
        in_unit!()
    );
    received::bind(sqlx::query(sql).bind(id).bind(due.as_millis()), &[received]).execute(connection).await?;
    Ok(())
}

/// Removes parked messages. Of two transactions that remove the same message, the second waits for the first and then does not find it.
pub(in crate::store::postgres) async fn unpark(connection: &mut PgConnection, ids: &[ParkedId]) -> Result<Vec<bool>, Failed> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // If this transaction has ended, the statement returns NULL. A message that another transaction has removed is not an error.
    let sql = concat!(
        "WITH removed AS (DELETE FROM sagas_parked WHERE id = ANY($1) AND ",
        in_unit!(),
        " RETURNING id) SELECT id FROM removed UNION ALL SELECT NULL WHERE (",
        in_unit!(),
        ") IS NOT TRUE"
    );
    let there: Option<Vec<ParkedId>> =
        sqlx::query_scalar::<_, Option<ParkedId>>(sql).bind(ids).fetch_all(connection).await?.into_iter().collect();
    let there = there.ok_or_else(gone)?;
    let mut there: HashSet<ParkedId> = there.into_iter().collect();
    Ok(ids.iter().map(|id| there.remove(id)).collect())
}

pub(in crate::store::postgres) async fn keys(connection: &mut PgConnection, service: &str) -> Result<Vec<ParkedKey>, Failed> {
    let sql = "SELECT first.topic, first.\"partition\", first.key, waiting.count, first.due FROM \
               (SELECT min(id) AS id, count(*) AS count FROM sagas_parked WHERE service = $1 GROUP BY topic, key) AS waiting \
               JOIN sagas_parked AS first ON first.id = waiting.id ORDER BY first.id";
    let rows = sqlx::query(sql).bind(service).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(ParkedKey {
                topic: unescaped(row.try_get(0)?),
                partition: row.try_get(1)?,
                key: Bytes::from(row.try_get::<Vec<u8>, _>(2)?),
                count: usize::try_from(row.try_get::<i64, _>(3)?).map_err(|_| unreadable())?,
                due: Timestamp::from_millis(row.try_get(4)?),
            })
        })
        .collect()
}

pub(in crate::store::postgres) async fn of_key(
    connection: &mut PgConnection,
    service: &str,
    topic: &str,
    key: &[u8],
    limit: usize,
) -> Result<Vec<ParkedMessage>, Failed> {
    let sql = concat!(
        "SELECT id, attempts, due, error, seen, ",
        columns!(),
        " FROM sagas_parked WHERE service = $1 AND topic = $2 AND sha256(key) = sha256($3) AND key = $3 ORDER BY id LIMIT $4"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query(sql).bind(service).bind(escaped(topic)).bind(key).bind(limit).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(ParkedMessage {
                id: row.try_get(0)?,
                attempts: u32::try_from(row.try_get::<i64, _>(1)?).map_err(|_| unreadable())?,
                due: Timestamp::from_millis(row.try_get(2)?),
                error: unescaped(row.try_get(3)?),
                seen: Timestamp::from_millis(row.try_get(4)?),
                received: received::read(row, 5)?,
            })
        })
        .collect()
}

/// Returns the number of parked messages for each of `keys` of a topic, in the order given.
pub(in crate::store::postgres) async fn counts(
    connection: &mut PgConnection,
    service: &str,
    topic: &str,
    keys: &[Bytes],
) -> Result<Vec<usize>, Failed> {
    let sql = "SELECT (SELECT count(*) FROM sagas_parked AS there WHERE there.service = $1 AND there.topic = $2 \
               AND sha256(there.key) = sha256(wanted.key) AND there.key = wanted.key) \
               FROM unnest($3::bytea[]) WITH ORDINALITY AS wanted (key, place) ORDER BY place";
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let counts: Vec<i64> = sqlx::query_scalar(sql).bind(service).bind(escaped(topic)).bind(keys).fetch_all(connection).await?;
    counts.into_iter().map(|count| usize::try_from(count).map_err(|_| unreadable().into())).collect()
}
