//! Instances of the sagas that a service tracks: reading, writing and removing them.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    super::text::{escaped, unescaped},
    Failed, gone, in_unit,
    keys::{self, lock_number},
    tables::Tables,
    unreadable,
};
use crate::{
    store::{InstanceKey, InstanceRecord, InstanceState},
    time::Timestamp,
};

/// The columns, in the order in which [`read`] reads them.
macro_rules! columns {
    () => {
        "known.saga, known.id, version, state, attention, due, started_at, updated_at, ended_at, body"
    };
}
pub(super) use columns;

/// `$1` is the service, `$2` and `$3` are the sagas and the ids of instances.
pub(in crate::store::postgres) const OF: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM unnest($2::text[], $3::text[]) AS wanted (saga, id) JOIN sagas_instances AS known \
     ON known.service = $1 AND known.instance_digest = sagas_digest(wanted.saga, wanted.id) ORDER BY known.saga, known.id"
);

/// Selects and locks instances that have ended and that no other transaction has locked. `$1` is the service, `$2` the time before which
/// they ended, `$3` the limit.
pub(in crate::store::postgres) const ENDED: &str = concat!(
    "WITH ended AS MATERIALIZED ( \
     SELECT saga, id, instance_digest FROM sagas_instances WHERE service = $1 AND ended_at < $2 \
     ORDER BY ended_at LIMIT $3 FOR UPDATE SKIP LOCKED) \
     SELECT instance_digest FROM ended WHERE pg_try_advisory_xact_lock(",
    lock_number!(),
    ")"
);

/// `$1` is the service, `$2` the locked instances, `$3` the time before which they ended.
pub(in crate::store::postgres) const FORGET: &str = concat!(
    "WITH gone AS ( \
     DELETE FROM sagas_instances WHERE service = $1 AND instance_digest = ANY($2) AND ended_at < $3 AND ",
    in_unit!(),
    " RETURNING instance_digest), \
     past AS (DELETE FROM sagas_history USING gone WHERE service = $1 AND sagas_history.instance_digest = gone.instance_digest) \
     SELECT count(*) FROM gone"
);

/// Reads an instance from the columns.
pub(super) fn read(row: &PgRow) -> Result<InstanceRecord, Failed> {
    Ok(InstanceRecord {
        instance: keys::read(row, 0)?,
        version: u32::try_from(row.try_get::<i64, _>(2)?).map_err(|_| unreadable())?,
        state: InstanceState::of(row.try_get(3)?).ok_or_else(unreadable)?,
        attention: row.try_get::<Option<String>, _>(4)?.map(unescaped),
        due: row.try_get::<Option<i64>, _>(5)?.map(Timestamp::from_millis),
        started_at: Timestamp::from_millis(row.try_get(6)?),
        updated_at: Timestamp::from_millis(row.try_get(7)?),
        ended_at: row.try_get::<Option<i64>, _>(8)?.map(Timestamp::from_millis),
        body: unescaped(row.try_get(9)?),
    })
}

/// Locks instances, and returns those that exist.
pub(in crate::store::postgres) async fn load(
    connection: &mut PgConnection,
    tables: Tables<'_>,
    service: &str,
    instances: &[InstanceKey],
) -> Result<Vec<InstanceRecord>, Failed> {
    let wanted = keys::distinct(instances);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    keys::lock(connection, tables, service, &wanted).await?;
    of(connection, tables, service, &wanted).await
}

/// Returns the instances that exist. `instances` must not contain duplicates.
pub(in crate::store::postgres) async fn of(
    connection: &mut PgConnection,
    tables: Tables<'_>,
    service: &str,
    instances: &[&InstanceKey],
) -> Result<Vec<InstanceRecord>, Failed> {
    let (sagas, ids) = keys::columns(instances);
    let rows = sqlx::query(tables.of(OF)).bind(service).bind(sagas).bind(ids).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// Writes `instances`. Of several with the same key the last is written, because one statement cannot write a row twice.
pub(in crate::store::postgres) async fn save(
    connection: &mut PgConnection,
    tables: Tables<'_>,
    service: &str,
    instances: &[InstanceRecord],
) -> Result<(), Failed> {
    if instances.is_empty() {
        return Ok(());
    }
    let records: BTreeMap<_, _> = instances.iter().map(|record| (&record.instance, record)).collect();
    let records: Vec<&InstanceRecord> = records.into_values().collect();
    let sql = concat!(
        "INSERT INTO sagas_instances (service, saga, id, version, state, attention, due, started_at, updated_at, ended_at, body) \
         SELECT $1, saga, id, version, state, attention, due, started_at, updated_at, ended_at, body \
         FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], \
         $8::bigint[], $9::bigint[], $10::bigint[], $11::text[]) \
         WITH ORDINALITY AS new (saga, id, version, state, attention, due, started_at, updated_at, ended_at, body, position) \
         WHERE ",
        in_unit!(),
        " ORDER BY position ON CONFLICT (service, instance_digest) DO UPDATE \
         SET (version, state, attention, due, started_at, updated_at, ended_at, body) = \
         (EXCLUDED.version, EXCLUDED.state, EXCLUDED.attention, EXCLUDED.due, EXCLUDED.started_at, EXCLUDED.updated_at, \
         EXCLUDED.ended_at, EXCLUDED.body)"
    );
    let (sagas, ids) = keys::columns(&records.iter().map(|record| &record.instance).collect::<Vec<_>>());
    let done = sqlx::query(tables.of(sql))
        .bind(service)
        .bind(sagas)
        .bind(ids)
        .bind(records.iter().map(|record| i64::from(record.version)).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.state.as_str()).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.attention.as_deref().map(escaped)).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.due.map(Timestamp::as_millis)).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.started_at.as_millis()).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.updated_at.as_millis()).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.ended_at.map(Timestamp::as_millis)).collect::<Vec<_>>())
        .bind(records.iter().map(|record| escaped(&record.body)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    if done.rows_affected() == 0 { Err(gone()) } else { Ok(()) }
}

/// Removes at most `limit` instances that ended before `before`, with their history. An instance that another transaction has locked is
/// kept, because that transaction can still add to its history.
pub(in crate::store::postgres) async fn prune(
    connection: &mut PgConnection,
    service: &str,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Failed> {
    let query = sqlx::query_scalar(ENDED).bind(service).bind(before.as_millis()).bind(i64::from(limit));
    let ended: Vec<Vec<u8>> = query.fetch_all(&mut *connection).await?;
    if ended.is_empty() {
        return Ok(0);
    }
    // This must be a second statement: it then sees what was committed before the locks were acquired.
    let query = sqlx::query_scalar(FORGET).bind(service).bind(ended).bind(before.as_millis());
    let gone: i64 = query.fetch_one(connection).await?;
    Ok(u64::try_from(gone).map_err(|_| unreadable())?)
}
