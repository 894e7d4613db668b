//! The history of instances.

use sqlx::{PgConnection, Row};

use super::{
    super::text::{escaped, unescaped},
    Failed, gone, in_unit, keys,
    tables::Tables,
};
use crate::{
    store::{HistoryEntry, InstanceKey},
    time::Timestamp,
};

/// `$1` is the service, `$2` the saga, `$3` the id.
pub(in crate::store::postgres) const OF: &str = "\
    SELECT event, message_id, causation_id, source, at, seen_at, note FROM sagas_history \
    WHERE service = $1 AND instance_digest = sagas_digest($2, $3) ORDER BY place";

/// Adds `entries`. Their places are generated after the entries are sorted, so they ascend in the order given.
pub(in crate::store::postgres) async fn append(
    connection: &mut PgConnection,
    tables: Tables<'_>,
    service: &str,
    entries: &[HistoryEntry],
) -> Result<(), Failed> {
    if entries.is_empty() {
        return Ok(());
    }
    let sql = concat!(
        "INSERT INTO sagas_history (service, saga, id, event, message_id, causation_id, source, at, seen_at, note) \
         SELECT $1, saga, id, event, message_id, causation_id, source, at, seen_at, note \
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], \
         $10::text[]) WITH ORDINALITY AS new (saga, id, event, message_id, causation_id, source, at, seen_at, note, position) \
         WHERE ",
        in_unit!(),
        " ORDER BY position"
    );
    let (sagas, ids) = keys::columns(&entries.iter().map(|entry| &entry.instance).collect::<Vec<_>>());
    let done = sqlx::query(tables.of(sql))
        .bind(service)
        .bind(sagas)
        .bind(ids)
        .bind(entries.iter().map(|entry| escaped(&entry.event)).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| escaped(&entry.message_id)).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.causation_id.as_deref().map(escaped)).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| escaped(&entry.source)).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.at.as_millis()).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.seen_at.as_millis()).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.note.as_deref().map(escaped)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    if done.rows_affected() == 0 { Err(gone()) } else { Ok(()) }
}

pub(in crate::store::postgres) async fn of(
    connection: &mut PgConnection,
    service: &str,
    instance: &InstanceKey,
) -> Result<Vec<HistoryEntry>, Failed> {
    let query = sqlx::query(OF).bind(service).bind(escaped(&instance.saga)).bind(escaped(&instance.id));
    let rows = query.fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(HistoryEntry {
                instance: instance.clone(),
                event: unescaped(row.try_get(0)?),
                message_id: unescaped(row.try_get(1)?),
                causation_id: row.try_get::<Option<String>, _>(2)?.map(unescaped),
                source: unescaped(row.try_get(3)?),
                at: Timestamp::from_millis(row.try_get(4)?),
                seen_at: Timestamp::from_millis(row.try_get(5)?),
                note: row.try_get::<Option<String>, _>(6)?.map(unescaped),
            })
        })
        .collect()
}
