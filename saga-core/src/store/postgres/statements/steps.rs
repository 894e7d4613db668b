//! Step records: what a service did in which saga instance.

use sqlx::{PgConnection, Row};

use super::{
    super::text::{escaped, unescaped},
    Failed, gone, in_unit,
};
use crate::{id::MessageId, store::StepRecord, time::Timestamp};

pub(in crate::store::postgres) async fn record(
    connection: &mut PgConnection,
    service: &str,
    steps: &[StepRecord],
) -> Result<(), Failed> {
    if steps.is_empty() {
        return Ok(());
    }
    let sql = concat!(
        "INSERT INTO sagas_steps (service, saga_id, step, message_id, event_type, refused, published, at) \
         SELECT $1, saga_id, step, message_id, event_type, refused, published, at \
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bool[], $7::text[], $8::bigint[]) \
         WITH ORDINALITY AS new (saga_id, step, message_id, event_type, refused, published, at, position) WHERE ",
        in_unit!(),
        " ORDER BY position"
    );
    let done = sqlx::query(sql)
        .bind(service)
        .bind(steps.iter().map(|step| escaped(&step.saga_id)).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| escaped(&step.step)).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| escaped(step.message_id.as_str())).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| escaped(&step.event_type)).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| step.refused).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| escaped(&step.published)).collect::<Vec<_>>())
        .bind(steps.iter().map(|step| step.at.as_millis()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    if done.rows_affected() == 0 { Err(gone()) } else { Ok(()) }
}

pub(in crate::store::postgres) async fn of_saga(
    connection: &mut PgConnection,
    service: &str,
    saga_id: &str,
) -> Result<Vec<StepRecord>, Failed> {
    // The index has room for the beginning of a name.
    let sql = "SELECT saga_id, step, message_id, event_type, refused, published, at FROM sagas_steps \
               WHERE service = $1 AND left(saga_id, 400) = left($2, 400) AND saga_id = $2 ORDER BY place";
    let rows = sqlx::query(sql).bind(service).bind(escaped(saga_id)).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(StepRecord {
                saga_id: unescaped(row.try_get(0)?),
                step: unescaped(row.try_get(1)?),
                message_id: MessageId::new(unescaped(row.try_get(2)?)),
                event_type: unescaped(row.try_get(3)?),
                refused: row.try_get(4)?,
                published: unescaped(row.try_get(5)?),
                at: Timestamp::from_millis(row.try_get(6)?),
            })
        })
        .collect()
}
