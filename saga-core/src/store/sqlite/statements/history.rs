//! The history of instances.

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{Failed, portions, values};
use crate::{
    store::{HistoryEntry, InstanceKey},
    time::Timestamp,
};

pub(in crate::store::sqlite) async fn append(
    connection: &mut SqliteConnection,
    service: &str,
    entries: &[HistoryEntry],
) -> Result<(), Failed> {
    for portion in portions(entries) {
        let sql = format!(
            "INSERT INTO sagas_history (service, saga, id, event, message_id, causation_id, source, at, seen_at, note) VALUES {}",
            values(portion.len(), 1, 9)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service);
        for entry in portion {
            query = query
                .bind(&entry.instance.saga)
                .bind(&entry.instance.id)
                .bind(&entry.event)
                .bind(&entry.message_id)
                .bind(entry.causation_id.as_deref())
                .bind(&entry.source)
                .bind(entry.at.as_millis())
                .bind(entry.seen_at.as_millis())
                .bind(entry.note.as_deref());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

pub(in crate::store::sqlite) async fn of_instance(
    connection: &mut SqliteConnection,
    service: &str,
    instance: &InstanceKey,
) -> Result<Vec<HistoryEntry>, Failed> {
    let sql = "SELECT event, message_id, causation_id, source, at, seen_at, note FROM sagas_history \
               WHERE service = ?1 AND saga = ?2 AND id = ?3 ORDER BY place";
    let rows = sqlx::query(sql).bind(service).bind(&instance.saga).bind(&instance.id).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(HistoryEntry {
                instance: instance.clone(),
                event: row.try_get(0)?,
                message_id: row.try_get(1)?,
                causation_id: row.try_get(2)?,
                source: row.try_get(3)?,
                at: Timestamp::from_millis(row.try_get(4)?),
                seen_at: Timestamp::from_millis(row.try_get(5)?),
                note: row.try_get(6)?,
            })
        })
        .collect()
}
