//! Step records: what a service did in which saga instance.

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{Failed, portions, values};
use crate::{id::MessageId, store::StepRecord, time::Timestamp};

pub(in crate::store::sqlite) async fn record(
    connection: &mut SqliteConnection,
    service: &str,
    steps: &[StepRecord],
) -> Result<(), Failed> {
    for portion in portions(steps) {
        let sql = format!(
            "INSERT INTO sagas_steps (service, saga_id, step, message_id, event_type, refused, published, at) VALUES {}",
            values(portion.len(), 1, 7)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service);
        for step in portion {
            query = query
                .bind(&step.saga_id)
                .bind(&step.step)
                .bind(step.message_id.as_str())
                .bind(&step.event_type)
                .bind(step.refused)
                .bind(&step.published)
                .bind(step.at.as_millis());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

pub(in crate::store::sqlite) async fn of_saga(
    connection: &mut SqliteConnection,
    service: &str,
    saga_id: &str,
) -> Result<Vec<StepRecord>, Failed> {
    let sql = "SELECT saga_id, step, message_id, event_type, refused, published, at FROM sagas_steps \
               WHERE service = ?1 AND saga_id = ?2 ORDER BY place";
    let rows = sqlx::query(sql).bind(service).bind(saga_id).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(StepRecord {
                saga_id: row.try_get(0)?,
                step: row.try_get(1)?,
                message_id: MessageId::new(row.try_get::<String, _>(2)?),
                event_type: row.try_get(3)?,
                refused: row.try_get(4)?,
                published: row.try_get(5)?,
                at: Timestamp::from_millis(row.try_get(6)?),
            })
        })
        .collect()
}
