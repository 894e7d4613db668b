//! Partitions: their epochs and applied offsets.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};

use super::{Failed, portions, values};
use crate::{message::TopicPartition, store::Ownership};

/// How a new applied offset and the stored one are merged.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::sqlite) enum Merge {
    /// The larger one is stored.
    Forwards,
    /// The new one is stored.
    Replace,
}

pub(in crate::store::sqlite) async fn own(
    connection: &mut SqliteConnection,
    service: &str,
    partitions: &[TopicPartition],
) -> Result<Vec<Ownership>, Failed> {
    let mut owned = HashMap::with_capacity(partitions.len());
    for portion in portions(partitions) {
        let sql = format!(
            "INSERT INTO sagas_partitions (service, epoch, topic, \"partition\") VALUES {} \
             ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING topic, \"partition\", epoch, applied, log",
            values(portion.len(), 2, 2)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service).bind(1_i64);
        for partition in portion {
            query = query.bind(&partition.topic).bind(partition.partition);
        }
        for row in query.fetch_all(&mut *connection).await? {
            owned.insert(partition(&row)?, (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?));
        }
    }
    let known = |partition: &TopicPartition| {
        let (epoch, applied, log) = owned.get(partition).cloned().ok_or(sqlx::Error::RowNotFound)?;
        Ok(Ownership { partition: partition.clone(), epoch, applied, log })
    };
    partitions.iter().map(known).collect()
}

pub(in crate::store::sqlite) async fn apply(
    connection: &mut SqliteConnection,
    service: &str,
    applied: &[Ownership],
    merge: Merge,
) -> Result<Vec<bool>, Failed> {
    let offset = match merge {
        Merge::Forwards => "coalesce(max(old.applied, wanted.applied), wanted.applied, old.applied)",
        Merge::Replace => "coalesce(wanted.applied, old.applied)",
    };
    let mut stood = HashMap::with_capacity(applied.len());
    for portion in portions(applied) {
        let sql = format!(
            "WITH wanted (topic, number, epoch, applied, log) AS (VALUES {}) \
             UPDATE sagas_partitions AS old SET applied = {offset}, log = coalesce(wanted.log, old.log) FROM wanted \
             WHERE old.service = ?{} AND old.topic = wanted.topic AND old.\"partition\" = wanted.number \
             AND old.epoch = wanted.epoch RETURNING topic, \"partition\", epoch",
            values(portion.len(), 0, 5),
            portion.len() * 5 + 1
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for Ownership { partition, epoch, applied, log } in portion {
            query = query.bind(&partition.topic).bind(partition.partition).bind(epoch).bind(applied).bind(log.as_deref());
        }
        for row in query.bind(service).fetch_all(&mut *connection).await? {
            stood.insert(partition(&row)?, row.try_get::<i64, _>(2)?);
        }
    }
    Ok(applied.iter().map(|owned| stood.get(&owned.partition) == Some(&owned.epoch)).collect())
}

pub(in crate::store::sqlite) async fn stand(
    connection: &mut SqliteConnection,
    service: &str,
    owned: &[(TopicPartition, i64)],
) -> Result<Vec<bool>, Failed> {
    let mut epochs = HashMap::with_capacity(owned.len());
    for portion in portions(owned) {
        let sql = format!(
            "WITH wanted (topic, number) AS (VALUES {}) SELECT known.topic, known.\"partition\", known.epoch FROM wanted \
             CROSS JOIN sagas_partitions AS known \
             ON known.service = ?{} AND known.topic = wanted.topic AND known.\"partition\" = wanted.number",
            values(portion.len(), 0, 2),
            portion.len() * 2 + 1
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (partition, _) in portion {
            query = query.bind(&partition.topic).bind(partition.partition);
        }
        for row in query.bind(service).fetch_all(&mut *connection).await? {
            epochs.insert(partition(&row)?, row.try_get::<i64, _>(2)?);
        }
    }
    Ok(owned.iter().map(|(partition, epoch)| epochs.get(partition) == Some(epoch)).collect())
}

fn partition(row: &SqliteRow) -> Result<TopicPartition, sqlx::Error> {
    Ok(TopicPartition { topic: row.try_get(0)?, partition: row.try_get(1)? })
}
