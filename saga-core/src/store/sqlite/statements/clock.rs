//! The stored state of a service's clock.

use sqlx::{Row, SqliteConnection};

use super::Failed;
use crate::{store::KeptClock, time::Timestamp};

pub(in crate::store::sqlite) async fn read(
    connection: &mut SqliteConnection,
    service: &str,
) -> Result<Option<KeptClock>, Failed> {
    let sql = "SELECT seen, ahead, stops FROM sagas_clock WHERE service = ?1";
    let Some(row) = sqlx::query(sql).bind(service).fetch_optional(connection).await? else { return Ok(None) };
    Ok(Some(KeptClock { seen: Timestamp::from_millis(row.try_get(0)?), offset: row.try_get(1)?, stops: row.try_get(2)? }))
}

pub(in crate::store::sqlite) async fn keep(
    connection: &mut SqliteConnection,
    service: &str,
    clock: &KeptClock,
) -> Result<(), Failed> {
    let sql = "INSERT INTO sagas_clock (service, seen, ahead, stops) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (service) \
               DO UPDATE SET seen = excluded.seen, ahead = excluded.ahead, stops = excluded.stops";
    sqlx::query(sql).bind(service).bind(clock.seen.as_millis()).bind(clock.offset).bind(&clock.stops).execute(connection).await?;
    Ok(())
}
