//! Parked messages.

use std::collections::HashSet;

use bytes::Bytes;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{
    Failed, json,
    outbox::numbered,
    portions,
    received::{self, COLUMNS, columns},
    unreadable, values,
};
use crate::{
    message::Received,
    store::{ParkedId, ParkedKey, ParkedMessage},
    time::Timestamp,
};

pub(in crate::store::sqlite) async fn park(
    connection: &mut SqliteConnection,
    service: &str,
    messages: &[ParkedMessage],
) -> Result<Vec<ParkedId>, Failed> {
    let mut ids = Vec::with_capacity(messages.len());
    for portion in portions(messages) {
        let sql = format!(
            concat!("INSERT INTO sagas_parked (service, key, attempts, due, error, seen, ", columns!(), ") VALUES {}"),
            values(portion.len(), 1, 5 + COLUMNS)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service);
        for message in portion {
            query = query.bind(message.key().to_vec()).bind(message.attempts).bind(message.due.as_millis()).bind(&message.error);
            query = query.bind(message.seen.as_millis());
            query = received::bind(query, &message.received);
        }
        ids.extend(numbered(&query.execute(&mut *connection).await?, portion.len())?);
    }
    Ok(ids)
}

pub(in crate::store::sqlite) async fn repark(
    connection: &mut SqliteConnection,
    id: ParkedId,
    attempts: u32,
    due: Timestamp,
    error: &str,
) -> Result<(), Failed> {
    let sql = "UPDATE sagas_parked SET attempts = ?2, due = ?3, error = ?4 WHERE id = ?1";
    sqlx::query(sql).bind(id).bind(attempts).bind(due.as_millis()).bind(error).execute(connection).await?;
    Ok(())
}

pub(in crate::store::sqlite) async fn release(
    connection: &mut SqliteConnection,
    ids: &[ParkedId],
    due: Timestamp,
) -> Result<(), Failed> {
    let sql =
        "UPDATE sagas_parked SET attempts = 0, due = ?2, seen = ?2, error = '' WHERE id IN (SELECT value FROM json_each(?1))";
    sqlx::query(sql).bind(json(ids)).bind(due.as_millis()).execute(connection).await?;
    Ok(())
}

pub(in crate::store::sqlite) async fn replace(
    connection: &mut SqliteConnection,
    id: ParkedId,
    received: &Received,
    due: Timestamp,
) -> Result<(), Failed> {
    let sql = concat!(
        "UPDATE sagas_parked SET attempts = 0, due = ?2, seen = ?2, error = '', (",
        columns!(),
        ") = (?3, ?4, ?5, ?6, ?7, ?8, ?9) WHERE id = ?1"
    );
    received::bind(sqlx::query(sql).bind(id).bind(due.as_millis()), received).execute(connection).await?;
    Ok(())
}

pub(in crate::store::sqlite) async fn unpark(connection: &mut SqliteConnection, ids: &[ParkedId]) -> Result<Vec<bool>, Failed> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "DELETE FROM sagas_parked WHERE id IN (SELECT value FROM json_each(?1)) RETURNING id";
    let rows = sqlx::query(sql).bind(json(ids)).fetch_all(connection).await?;
    let mut there: HashSet<ParkedId> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Ok(ids.iter().map(|id| there.remove(id)).collect())
}

pub(in crate::store::sqlite) async fn keys(connection: &mut SqliteConnection, service: &str) -> Result<Vec<ParkedKey>, Failed> {
    let sql = "SELECT first.topic, first.\"partition\", first.key, waiting.count, first.due FROM \
               (SELECT min(id) AS id, count(*) AS count FROM sagas_parked WHERE service = ?1 GROUP BY topic, key) AS waiting \
               JOIN sagas_parked AS first ON first.id = waiting.id ORDER BY first.id";
    let rows = sqlx::query(sql).bind(service).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(ParkedKey {
                topic: row.try_get(0)?,
                partition: row.try_get(1)?,
                key: Bytes::from(row.try_get::<Vec<u8>, _>(2)?),
                count: usize::try_from(row.try_get::<i64, _>(3)?).map_err(|_| unreadable())?,
                due: Timestamp::from_millis(row.try_get(4)?),
            })
        })
        .collect()
}

pub(in crate::store::sqlite) async fn of_key(
    connection: &mut SqliteConnection,
    service: &str,
    topic: &str,
    key: &[u8],
    limit: usize,
) -> Result<Vec<ParkedMessage>, Failed> {
    let sql = concat!(
        "SELECT id, attempts, due, error, seen, ",
        columns!(),
        " FROM sagas_parked WHERE service = ?1 AND topic = ?2 AND key = ?3 ORDER BY id LIMIT ?4"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query(sql).bind(service).bind(topic).bind(key).bind(limit).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(ParkedMessage {
                id: row.try_get(0)?,
                attempts: row.try_get(1)?,
                due: Timestamp::from_millis(row.try_get(2)?),
                error: row.try_get(3)?,
                seen: Timestamp::from_millis(row.try_get(4)?),
                received: received::read(row, 5)?,
            })
        })
        .collect()
}

/// Returns the number of parked messages for each of `keys` of a topic, in the order given.
pub(in crate::store::sqlite) async fn counts(
    connection: &mut SqliteConnection,
    service: &str,
    topic: &str,
    keys: &[Bytes],
) -> Result<Vec<usize>, Failed> {
    let sql = "SELECT count(*) FROM sagas_parked WHERE service = ?1 AND topic = ?2 AND key = ?3";
    let mut counts = Vec::with_capacity(keys.len());
    for key in keys {
        let count: i64 = sqlx::query_scalar(sql).bind(service).bind(topic).bind(&key[..]).fetch_one(&mut *connection).await?;
        counts.push(usize::try_from(count).map_err(|_| unreadable())?);
    }
    Ok(counts)
}
