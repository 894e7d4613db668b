//! Replays: ranges of partitions that are read again.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Failed,
    partitions::{self, Merge},
    unreadable,
};
use crate::{
    id::MessageId,
    message::TopicPartition,
    store::{Ownership, Replay, ReplayId, ReplayState, ReplayStep},
    time::Timestamp,
};

pub(in crate::store::sqlite) async fn ask(
    connection: &mut SqliteConnection,
    service: &str,
    replay: &Replay,
) -> Result<bool, Failed> {
    let sql = "INSERT INTO sagas_replays (service, id, topic, \"partition\", from_offset, from_time, to_offset, to_time, most, again, \
               reason, asked_by, asked_at, state, log) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING";
    let done = sqlx::query(sql)
        .bind(service)
        .bind(replay.id.as_str())
        .bind(&replay.partition.topic)
        .bind(replay.partition.partition)
        .bind(replay.from)
        .bind(replay.from_time.map(Timestamp::as_millis))
        .bind(replay.to)
        .bind(replay.to_time.map(Timestamp::as_millis))
        .bind(replay.limit)
        .bind(replay.again)
        .bind(&replay.reason)
        .bind(&replay.by)
        .bind(replay.at.as_millis())
        .bind(replay.state.as_str())
        .bind(replay.log.as_deref())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(in crate::store::sqlite) async fn list(
    connection: &mut SqliteConnection,
    service: &str,
    open: bool,
    limit: u32,
) -> Result<Vec<Replay>, Failed> {
    let sql = "SELECT one.id, one.topic, one.\"partition\", one.from_offset, one.from_time, one.to_offset, one.to_time, one.most, \
               one.again, one.reason, one.asked_by, one.asked_at, one.state, one.resume, one.ended_at, one.detail, one.log, known.applied \
               FROM sagas_replays AS one LEFT JOIN sagas_partitions AS known \
               ON known.service = one.service AND known.topic = one.topic AND known.\"partition\" = one.\"partition\" \
               WHERE one.service = ?1 AND (one.ended_at IS NULL OR NOT ?2) \
               ORDER BY one.asked_at DESC, one.id DESC LIMIT ?3";
    let rows = sqlx::query(sql).bind(service).bind(open).bind(limit).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Result<Replay, Failed> {
    let time = |at: usize| Ok::<_, Failed>(row.try_get::<Option<i64>, _>(at)?.map(Timestamp::from_millis));
    let code: &str = row.try_get(12)?;
    Ok(Replay {
        id: MessageId::new(row.try_get::<String, _>(0)?),
        partition: TopicPartition { topic: row.try_get::<String, _>(1)?, partition: row.try_get(2)? },
        from: row.try_get(3)?,
        from_time: time(4)?,
        to: row.try_get(5)?,
        to_time: time(6)?,
        limit: row.try_get(7)?,
        again: row.try_get(8)?,
        reason: row.try_get::<String, _>(9)?,
        by: row.try_get::<String, _>(10)?,
        at: Timestamp::from_millis(row.try_get(11)?),
        state: ReplayState::ALL.into_iter().find(|state| state.as_str() == code).ok_or_else(unreadable)?,
        resume: row.try_get(13)?,
        ended_at: time(14)?,
        detail: row.try_get::<Option<String>, _>(15)?,
        log: row.try_get::<Option<String>, _>(16)?,
        applied: row.try_get(17)?,
    })
}

pub(in crate::store::sqlite) async fn stop(
    connection: &mut SqliteConnection,
    service: &str,
    id: &ReplayId,
    at: Timestamp,
) -> Result<bool, Failed> {
    let sql = "UPDATE sagas_replays SET ended_at = CASE state WHEN 'waiting' THEN ?3 ELSE ended_at END, \
               state = CASE state WHEN 'waiting' THEN 'cancelled' ELSE 'stopping' END \
               WHERE service = ?1 AND id = ?2 AND ended_at IS NULL";
    let done = sqlx::query(sql).bind(service).bind(id.as_str()).bind(at.as_millis()).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

/// The caller rolls back the transaction if this returns false, so that both changes are made or none.
pub(in crate::store::sqlite) async fn step(
    connection: &mut SqliteConnection,
    service: &str,
    step: &ReplayStep,
) -> Result<bool, Failed> {
    if partitions::apply(connection, service, std::slice::from_ref(&step.owned), Merge::Replace).await? != [true] {
        return Ok(false);
    }
    let sql = "UPDATE sagas_replays SET state = ?3, from_offset = coalesce(?4, from_offset), to_offset = coalesce(?5, to_offset), \
               resume = coalesce(?6, resume), ended_at = ?7, detail = ?8 WHERE service = ?1 AND id = ?2 AND ended_at IS NULL";
    let done = sqlx::query(sql)
        .bind(service)
        .bind(step.id.as_str())
        .bind(step.state.as_str())
        .bind(step.from)
        .bind(step.to)
        .bind(step.resume)
        .bind((!step.state.is_open()).then_some(step.at.as_millis()))
        .bind(step.detail.as_deref())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(in crate::store::sqlite) async fn partitions(
    connection: &mut SqliteConnection,
    service: &str,
) -> Result<Vec<Ownership>, Failed> {
    let sql =
        "SELECT topic, \"partition\", epoch, applied, log FROM sagas_partitions WHERE service = ?1 ORDER BY topic, \"partition\"";
    let rows = sqlx::query(sql).bind(service).fetch_all(connection).await?;
    let owned = |row: &SqliteRow| {
        let partition = TopicPartition { topic: row.try_get::<String, _>(0)?, partition: row.try_get(1)? };
        Ok(Ownership { partition, epoch: row.try_get(2)?, applied: row.try_get(3)?, log: row.try_get(4)? })
    };
    rows.iter().map(owned).collect()
}

pub(in crate::store::sqlite) async fn prune(
    connection: &mut SqliteConnection,
    service: &str,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Failed> {
    let sql = "DELETE FROM sagas_replays WHERE service = ?1 AND id IN \
               (SELECT id FROM sagas_replays WHERE service = ?1 AND ended_at < ?2 LIMIT ?3)";
    let done = sqlx::query(sql).bind(service).bind(before.as_millis()).bind(limit).execute(connection).await?;
    Ok(done.rows_affected())
}
