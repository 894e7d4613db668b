//! Which process sends which shard of the outbox.
//!
//! Each call is one statement in its own transaction, so a process that is frozen during a call holds no lock.

use std::time::Duration;

use sqlx::{PgConnection, Row};

use super::Failed;
use crate::{
    message::{Shard, Shards},
    store::{Backlog, Lease, Share},
    time::Timestamp,
};

/// `$1` is the service, `$2` the process, `$3` the duration of the lease in milliseconds, `$4` the shards to release.
///
/// All parts of the statement see the tables as they were at its beginning. The statement skips locked shards when it takes shards. It
/// waits for the lock of one of the process's own shards only while another process takes that shard.
const SHARE: &str = "
WITH lease AS (SELECT now() + $3 * interval '1 millisecond' AS expires),
me AS (
    INSERT INTO sagas_processes (service, instance, expires) SELECT $1, $2, expires FROM lease
    ON CONFLICT (service, instance) DO UPDATE SET expires = excluded.expires),
gone AS (
    DELETE FROM sagas_processes WHERE service = $1 AND instance IN (
        SELECT instance FROM sagas_processes WHERE service = $1 AND instance <> $2 AND expires < now() FOR UPDATE SKIP LOCKED)),
others AS (SELECT count(*) AS live FROM sagas_processes WHERE service = $1 AND instance <> $2 AND expires >= now()),
fair AS (SELECT (16 + live) / (1 + live) AS shards FROM others),
freed AS (UPDATE sagas_shards SET owner = NULL, expires = NULL WHERE service = $1 AND owner = $2 AND shard = ANY($4)),
kept AS (
    UPDATE sagas_shards SET expires = lease.expires FROM lease WHERE service = $1 AND owner = $2 AND shard <> ALL($4)
    RETURNING shard, epoch),
open AS (
    SELECT shard FROM sagas_shards WHERE service = $1 AND owner IS DISTINCT FROM $2 AND (owner IS NULL OR expires < now())
    ORDER BY shard LIMIT greatest(0, (SELECT shards FROM fair) - (SELECT count(*) FROM kept)) FOR UPDATE SKIP LOCKED),
taken AS (
    UPDATE sagas_shards SET owner = $2, epoch = epoch + 1, expires = lease.expires FROM lease
    WHERE service = $1 AND shard IN (SELECT shard FROM open)
    RETURNING shard, epoch)
SELECT fair.shards, (SELECT count(*) FROM sagas_shards WHERE service = $1), mine.shard, mine.epoch
FROM fair LEFT JOIN (SELECT shard, epoch FROM kept UNION ALL SELECT shard, epoch FROM taken) AS mine ON true
ORDER BY mine.shard";

/// Releases `freed`, takes free shards, and returns the share of the process.
pub(in crate::store::postgres) async fn acquire_leases(
    connection: &mut PgConnection,
    service: &str,
    instance: &str,
    ttl: Duration,
    freed: Shards,
) -> Result<Share, Failed> {
    let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
    loop {
        let query = sqlx::query(SHARE).bind(service).bind(instance).bind(ttl).bind(numbers(freed));
        let (mut share, mut shards) = (Share::default(), 0);
        for row in query.fetch_all(&mut *connection).await? {
            share.fair = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default();
            shards = row.try_get::<i64, _>(1)?;
            let (shard, epoch): (Option<i16>, Option<i64>) = (row.try_get(2)?, row.try_get(3)?);
            let shard = shard.and_then(|number| Shard::new(u8::try_from(number).ok()?));
            share.leases.extend(shard.zip(epoch).map(|(shard, epoch)| Lease { shard, epoch }));
        }
        if shards > 0 {
            return Ok(share);
        }
        let sql = "INSERT INTO sagas_shards (service, shard, epoch) SELECT $1, shard, 0 FROM unnest($2::smallint[]) AS s (shard) \
                   ON CONFLICT DO NOTHING";
        sqlx::query(sql).bind(service).bind(numbers(Shards::ALL)).execute(&mut *connection).await?;
    }
}

/// Removes the process and releases its shards.
pub(in crate::store::postgres) async fn leave(
    connection: &mut PgConnection,
    service: &str,
    instance: &str,
) -> Result<(), Failed> {
    let sql = "WITH gone AS (DELETE FROM sagas_processes WHERE service = $1 AND instance = $2) \
               UPDATE sagas_shards SET owner = NULL, expires = NULL WHERE service = $1 AND owner = $2";
    sqlx::query(sql).bind(service).bind(instance).execute(connection).await?;
    Ok(())
}

pub(in crate::store::postgres) async fn notify(
    connection: &mut PgConnection,
    channel: &str,
    payload: &str,
) -> Result<(), Failed> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(payload).execute(connection).await?;
    Ok(())
}

/// Counts at most `most` rows, and reads the time of the first row of each shard.
pub(in crate::store::postgres) async fn backlog(
    connection: &mut PgConnection,
    service: &str,
    most: u64,
) -> Result<Backlog, Failed> {
    let sql = "SELECT (SELECT count(*) FROM (SELECT FROM sagas_outbox WHERE service = $1 LIMIT $2) AS counted), \
               (SELECT min(timestamp) FROM unnest($3::smallint[]) AS s (shard) CROSS JOIN LATERAL ( \
                   SELECT timestamp FROM sagas_outbox WHERE service = $1 AND shard = s.shard ORDER BY id LIMIT 1) AS first)";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let row = sqlx::query(sql).bind(service).bind(most).bind(numbers(Shards::ALL)).fetch_one(connection).await?;
    let oldest: Option<i64> = row.try_get(1)?;
    Ok(Backlog { rows: u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default(), oldest: oldest.map(Timestamp::from_millis) })
}

/// The numbers of `shards`, to bind as an array.
pub(in crate::store::postgres) fn numbers(shards: Shards) -> Vec<i16> {
    shards.iter().map(|shard| i16::from(shard.number())).collect()
}
