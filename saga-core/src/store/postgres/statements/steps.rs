//! Step records: the state of a service's steps for instances.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    super::text::{escaped, unescaped},
    Failed, gone, in_unit, keys,
    tables::Tables,
    unreadable,
};
use crate::{
    id::MessageId,
    store::{InstanceKey, LeftBehind, StepRecord, StepState},
    time::Timestamp,
};

/// `$1` is the service, `$2` and `$3` are the sagas and the ids of instances.
pub(in crate::store::postgres) const OF: &str = "SELECT known.saga, known.id, step, state, record, message_id, until, at, version \
     FROM unnest($2::text[], $3::text[]) AS wanted (saga, id) \
     JOIN sagas_steps AS known ON known.service = $1 AND known.instance_digest = sagas_digest(wanted.saga, wanted.id) \
     ORDER BY known.saga, known.id, step";

/// `$1` is the service, `$2` the time before which they were written, `$3` the limit.
pub(in crate::store::postgres) const PRUNE: &str = concat!(
    "DELETE FROM sagas_steps WHERE ctid = ANY(ARRAY( \
     SELECT ctid FROM sagas_steps WHERE service = $1 AND at < $2 ORDER BY at LIMIT $3 FOR UPDATE SKIP LOCKED)) AND ",
    in_unit!()
);

/// Locks instances, and returns their step records.
pub(in crate::store::postgres) async fn load(
    connection: &mut PgConnection,
    tables: Tables<'_>,
    service: &str,
    instances: &[InstanceKey],
) -> Result<Vec<StepRecord>, Failed> {
    let wanted = keys::distinct(instances);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    keys::lock(connection, tables, service, &wanted).await?;
    of(connection, tables, service, &wanted).await
}

/// Returns the step records of instances. `instances` must not contain duplicates.
pub(in crate::store::postgres) async fn of(
    connection: &mut PgConnection,
    tables: Tables<'_>,
    service: &str,
    instances: &[&InstanceKey],
) -> Result<Vec<StepRecord>, Failed> {
    let (sagas, ids) = keys::columns(instances);
    let rows = sqlx::query(tables.of(OF)).bind(service).bind(sagas).bind(ids).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(StepRecord {
                instance: keys::read(row, 0)?,
                step: unescaped(row.try_get(2)?),
                state: StepState::of(row.try_get(3)?).ok_or_else(unreadable)?,
                record: row.try_get::<Option<String>, _>(4)?.map(|value| left_behind(value, row)).transpose()?,
                message_id: MessageId::new(unescaped(row.try_get(5)?)),
                until: row.try_get::<Option<i64>, _>(6)?.map(Timestamp::from_millis),
                at: Timestamp::from_millis(row.try_get(7)?),
            })
        })
        .collect()
}

fn left_behind(value: String, row: &PgRow) -> Result<LeftBehind, Failed> {
    let version = u32::try_from(row.try_get::<i64, _>(8)?).map_err(|_| unreadable())?;
    Ok(LeftBehind { value: unescaped(value), version })
}

/// Writes `steps`. Of several records of the same step the last is written, because one statement cannot write a row twice.
pub(in crate::store::postgres) async fn save(
    connection: &mut PgConnection,
    tables: Tables<'_>,
    service: &str,
    steps: &[StepRecord],
) -> Result<(), Failed> {
    if steps.is_empty() {
        return Ok(());
    }
    let steps: BTreeMap<_, _> = steps.iter().map(|record| ((&record.instance, &record.step), record)).collect();
    let steps: Vec<&StepRecord> = steps.into_values().collect();
    let sql = concat!(
        "INSERT INTO sagas_steps (service, saga, id, step, state, record, message_id, until, at, version) \
         SELECT $1, saga, id, step, state, record, message_id, until, at, version \
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], \
         $10::bigint[]) \
         WITH ORDINALITY AS new (saga, id, step, state, record, message_id, until, at, version, position) WHERE ",
        in_unit!(),
        " ORDER BY position ON CONFLICT (service, instance_digest, step_digest) DO UPDATE \
         SET (state, record, message_id, until, at, version) = \
         (EXCLUDED.state, EXCLUDED.record, EXCLUDED.message_id, EXCLUDED.until, EXCLUDED.at, EXCLUDED.version)"
    );
    let (sagas, ids) = keys::columns(&steps.iter().map(|step| &step.instance).collect::<Vec<_>>());
    let done = sqlx::query(tables.of(sql))
        .bind(service)
        .bind(sagas)
        .bind(ids)
        .bind(steps.iter().map(|step| escaped(&step.step)).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| step.state.as_str()).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| step.record.as_ref().map(|record| escaped(&record.value))).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| escaped(step.message_id.as_str())).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| step.until.map(Timestamp::as_millis)).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| step.at.as_millis()).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| step.record.as_ref().map_or(1, |record| i64::from(record.version))).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    if done.rows_affected() == 0 { Err(gone()) } else { Ok(()) }
}

/// Removes at most `limit` step records that were written before `before`.
pub(in crate::store::postgres) async fn prune(
    connection: &mut PgConnection,
    service: &str,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Failed> {
    let done = sqlx::query(PRUNE).bind(service).bind(before.as_millis()).bind(i64::from(limit)).execute(connection).await?;
    Ok(done.rows_affected())
}
