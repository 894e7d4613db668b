//! Step records: the state of a service's steps for an instance.

use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};

use super::{Failed, keys, portions, unreadable, values};
use crate::{
    id::MessageId,
    store::{InstanceKey, LeftBehind, StepRecord, StepState},
    time::Timestamp,
};

/// The columns, in the order in which [`save`] binds and [`read`] reads them.
macro_rules! columns {
    () => {
        "saga, id, step, state, record, message_id, until, at, version"
    };
}

pub(in crate::store::sqlite) async fn save(
    connection: &mut SqliteConnection,
    service: &str,
    steps: &[StepRecord],
) -> Result<(), Failed> {
    for portion in portions(steps) {
        let sql = format!(
            concat!(
                "INSERT INTO sagas_steps (service, ",
                columns!(),
                ") VALUES {} ON CONFLICT DO UPDATE SET state = excluded.state, record = excluded.record, \
                 message_id = excluded.message_id, until = excluded.until, at = excluded.at, version = excluded.version"
            ),
            values(portion.len(), 1, 9)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service);
        for step in portion {
            query = query
                .bind(&step.instance.saga)
                .bind(&step.instance.id)
                .bind(&step.step)
                .bind(step.state.as_str())
                .bind(step.record.as_ref().map(|record| &*record.value))
                .bind(step.message_id.as_str())
                .bind(step.until.map(Timestamp::as_millis))
                .bind(step.at.as_millis())
                .bind(step.record.as_ref().map_or(1, |record| record.version));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Returns the step records of the instances `of`, ordered by instance and by the name of the step.
pub(in crate::store::sqlite) async fn load(
    connection: &mut SqliteConnection,
    service: &str,
    of: &[InstanceKey],
) -> Result<Vec<StepRecord>, Failed> {
    let mut steps = Vec::new();
    for portion in portions(&keys::distinct(of)) {
        let sql = keys::select(columns!(), "sagas_steps", portion.len(), "saga, id, step");
        for row in keys::bind(sqlx::query(AssertSqlSafe(sql)), portion).bind(service).fetch_all(&mut *connection).await? {
            steps.push(read(&row)?);
        }
    }
    Ok(steps)
}

/// Removes at most `limit` step records that were written before `before`.
pub(in crate::store::sqlite) async fn prune(
    connection: &mut SqliteConnection,
    service: &str,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Failed> {
    let done = sqlx::query(PRUNE).bind(service).bind(before.as_millis()).bind(limit).execute(connection).await?;
    Ok(done.rows_affected())
}

pub(in crate::store::sqlite) const PRUNE: &str = "DELETE FROM sagas_steps WHERE (service, saga, id, step) IN \
     (SELECT service, saga, id, step FROM sagas_steps WHERE service = ?1 AND at < ?2 ORDER BY at LIMIT ?3)";

fn read(row: &SqliteRow) -> Result<StepRecord, Failed> {
    Ok(StepRecord {
        instance: InstanceKey { saga: row.try_get(0)?, id: row.try_get(1)? },
        step: row.try_get(2)?,
        state: StepState::of(row.try_get(3)?).ok_or_else(unreadable)?,
        record: row
            .try_get::<Option<String>, _>(4)?
            .map(|value| Ok::<_, Failed>(LeftBehind { value, version: row.try_get(8)? }))
            .transpose()?,
        message_id: MessageId::new(row.try_get::<String, _>(5)?),
        until: row.try_get::<Option<i64>, _>(6)?.map(Timestamp::from_millis),
        at: Timestamp::from_millis(row.try_get(7)?),
    })
}
