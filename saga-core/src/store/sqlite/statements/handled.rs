//! Which events services have handled.

use sqlx::{Row, SqliteConnection};

use super::Failed;

pub(in crate::store::sqlite) async fn events(
    connection: &mut SqliteConnection,
    service: &str,
) -> Result<Vec<(String, String)>, Failed> {
    let sql = "SELECT topic, event FROM sagas_handled WHERE service = ?1 ORDER BY topic, event";
    let rows = sqlx::query(sql).bind(service).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

pub(in crate::store::sqlite) async fn note(
    connection: &mut SqliteConnection,
    service: &str,
    events: &[(String, String)],
    forget: &[(String, String)],
) -> Result<(), Failed> {
    for (topic, event) in forget {
        let sql = "DELETE FROM sagas_handled WHERE service = ?1 AND topic = ?2 AND event = ?3";
        sqlx::query(sql).bind(service).bind(topic).bind(event).execute(&mut *connection).await?;
    }
    for (topic, event) in events {
        let sql = "INSERT INTO sagas_handled (service, topic, event) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        sqlx::query(sql).bind(service).bind(topic).bind(event).execute(&mut *connection).await?;
    }
    Ok(())
}
