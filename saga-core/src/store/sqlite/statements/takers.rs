//! Which handlers of a service take its events.

use sqlx::{Row, SqliteConnection};

use super::Failed;
use crate::store::{Assignment, Taken, Taker, takers};

pub(in crate::store::sqlite) async fn assign(
    connection: &mut SqliteConnection,
    service: &str,
    taken: &[Taken],
) -> Result<Assignment, Failed> {
    let known = of(connection, service).await?;
    let assigned = takers::assign(known.clone(), taken)?;
    if assigned.all != known {
        replace(connection, service, &assigned.all).await?;
    }
    Ok(assigned)
}

pub(in crate::store::sqlite) async fn of(connection: &mut SqliteConnection, service: &str) -> Result<Vec<Taker>, Failed> {
    let sql = "SELECT topic, event, handler, known_as, takes FROM sagas_takers WHERE service = ?1 ORDER BY topic, event, handler";
    let rows = sqlx::query(sql).bind(service).fetch_all(connection).await?;
    let taker = |row: &sqlx::sqlite::SqliteRow| {
        Ok(Taker {
            topic: row.try_get(0)?,
            event: row.try_get(1)?,
            handler: row.try_get(2)?,
            known_as: row.try_get(3)?,
            takes: row.try_get(4)?,
        })
    };
    rows.iter().map(taker).collect()
}

async fn replace(connection: &mut SqliteConnection, service: &str, all: &[Taker]) -> Result<(), Failed> {
    sqlx::query("DELETE FROM sagas_takers WHERE service = ?1").bind(service).execute(&mut *connection).await?;
    for taker in all {
        let sql = "INSERT INTO sagas_takers (service, topic, event, handler, known_as, takes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let query = sqlx::query(sql).bind(service).bind(&taker.topic).bind(&taker.event).bind(&taker.handler);
        query.bind(&taker.known_as).bind(taker.takes).execute(&mut *connection).await?;
    }
    Ok(())
}
