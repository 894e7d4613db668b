//! Which handlers of a service take its events.

use sqlx::{PgConnection, Row};

use super::{
    super::text::{escaped, unescaped},
    Failed, gone, in_unit,
};
use crate::store::{Assignment, Taken, Taker, takers};

/// Stores the handlers of a service. Of processes that start at the same time, each waits for the lock and then reads what the other has
/// written.
pub(in crate::store::postgres) async fn assign(
    connection: &mut PgConnection,
    service: &str,
    taken: &[Taken],
) -> Result<Assignment, Failed> {
    let sql = concat!(
        "SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('~', 'takers', current_schema(), $1), 0)) WHERE ",
        in_unit!()
    );
    if sqlx::query(sql).bind(service).fetch_all(&mut *connection).await?.is_empty() {
        return Err(gone());
    }
    let known = of(connection, service).await?;
    let assigned = takers::assign(known.clone(), taken)?;
    if assigned.all != known {
        replace(connection, service, &assigned.all).await?;
    }
    Ok(assigned)
}

pub(in crate::store::postgres) async fn of(connection: &mut PgConnection, service: &str) -> Result<Vec<Taker>, Failed> {
    let sql = "SELECT topic, event, handler, known_as, takes FROM sagas_takers WHERE service = $1 ORDER BY topic, event, handler";
    let rows = sqlx::query(sql).bind(service).fetch_all(connection).await?;
    let taker = |row: &sqlx::postgres::PgRow| {
        Ok(Taker {
            topic: unescaped(row.try_get(0)?),
            event: unescaped(row.try_get(1)?),
            handler: unescaped(row.try_get(2)?),
            known_as: unescaped(row.try_get(3)?),
            takes: row.try_get(4)?,
        })
    };
    rows.iter().map(taker).collect()
}

async fn replace(connection: &mut PgConnection, service: &str, all: &[Taker]) -> Result<(), Failed> {
    let sql = concat!("DELETE FROM sagas_takers WHERE service = $1 AND ", in_unit!());
    sqlx::query(sql).bind(service).execute(&mut *connection).await?;
    let sql = concat!(
        "INSERT INTO sagas_takers (service, topic, event, handler, known_as, takes) SELECT $1, topic, event, handler, known_as, takes \
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[]) AS new (topic, event, handler, known_as, takes) WHERE ",
        in_unit!()
    );
    sqlx::query(sql)
        .bind(service)
        .bind(all.iter().map(|taker| escaped(&taker.topic)).collect::<Vec<_>>())
        .bind(all.iter().map(|taker| escaped(&taker.event)).collect::<Vec<_>>())
        .bind(all.iter().map(|taker| escaped(&taker.handler)).collect::<Vec<_>>())
        .bind(all.iter().map(|taker| escaped(&taker.known_as)).collect::<Vec<_>>())
        .bind(all.iter().map(|taker| taker.takes).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
