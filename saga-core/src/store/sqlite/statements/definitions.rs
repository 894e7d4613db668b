//! Saga definitions, stored for programs that read the database.

use sqlx::{Row, SqliteConnection};

use super::Failed;
use crate::store::StoredDefinition;

pub(in crate::store::sqlite) async fn define(
    connection: &mut SqliteConnection,
    service: &str,
    definition: &StoredDefinition,
) -> Result<(), Failed> {
    let sql = "INSERT INTO sagas_definitions (service, saga, version, body) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT DO UPDATE SET body = excluded.body";
    let query = sqlx::query(sql).bind(service).bind(&definition.saga).bind(definition.version).bind(&definition.body);
    query.execute(connection).await?;
    Ok(())
}

pub(in crate::store::sqlite) async fn all(
    connection: &mut SqliteConnection,
    service: &str,
) -> Result<Vec<StoredDefinition>, Failed> {
    let sql = "SELECT saga, version, body FROM sagas_definitions WHERE service = ?1 ORDER BY saga, version";
    let rows = sqlx::query(sql).bind(service).fetch_all(connection).await?;
    rows.iter()
        .map(|row| Ok(StoredDefinition { saga: row.try_get(0)?, version: row.try_get(1)?, body: row.try_get(2)? }))
        .collect()
}
