//! The stored state of a service's clock, and the server's clock.

use sqlx::{PgConnection, Row};

use super::{Failed, in_unit};
use crate::{store::KeptClock, time::Timestamp};

/// Returns the current time of the server's clock.
pub(in crate::store::postgres) async fn now(connection: &mut PgConnection) -> Result<Timestamp, Failed> {
    let sql = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    Ok(Timestamp::from_millis(sqlx::query_scalar(sql).fetch_one(connection).await?))
}

pub(in crate::store::postgres) async fn read(connection: &mut PgConnection, service: &str) -> Result<Option<KeptClock>, Failed> {
    let sql = "SELECT seen, ahead, stops FROM sagas_clock WHERE service = $1";
    let Some(row) = sqlx::query(sql).bind(service).fetch_optional(connection).await? else { return Ok(None) };
    Ok(Some(KeptClock { seen: Timestamp::from_millis(row.try_get(0)?), offset: row.try_get(1)?, stops: row.try_get(2)? }))
}

pub(in crate::store::postgres) async fn keep(
    connection: &mut PgConnection,
    service: &str,
    clock: &KeptClock,
) -> Result<(), Failed> {
    let sql = concat!(
        "INSERT INTO sagas_clock (service, seen, ahead, stops) SELECT $1, $2, $3, $4 WHERE ",
        in_unit!(),
        " ON CONFLICT (service) DO UPDATE SET seen = excluded.seen, ahead = excluded.ahead, stops = excluded.stops"
    );
    sqlx::query(sql).bind(service).bind(clock.seen.as_millis()).bind(clock.offset).bind(&clock.stops).execute(connection).await?;
    Ok(())
}
