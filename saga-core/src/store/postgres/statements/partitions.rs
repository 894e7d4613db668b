//! Partitions: their epochs and applied offsets.
//!
//! A transaction that checks an epoch locks its row `FOR KEY SHARE`. Acquiring the partition changes the epoch. The epoch is part of a
//! unique index, so that update needs a stronger lock and waits for such transactions. Storing an offset does not wait for them. Rows are
//! locked in one order, so that transactions do not deadlock.

use std::collections::HashMap;

use sqlx::{PgConnection, Row};

use super::{
    super::text::{escaped, unescaped},
    Failed, in_unit,
};
use crate::{message::TopicPartition, store::Ownership};

/// How a new applied offset and the stored one are merged.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::postgres) enum Merge {
    /// The larger one is stored.
    Forwards,
    /// The new one is stored.
    Replace,
}

pub(in crate::store::postgres) async fn own(
    connection: &mut PgConnection,
    service: &str,
    partitions: &[TopicPartition],
) -> Result<Vec<Ownership>, Failed> {
    let sql = concat!(
        "INSERT INTO sagas_partitions AS known (service, topic, \"partition\", epoch) \
         SELECT DISTINCT $1, topic, number, 1 FROM unnest($2::text[], $3::int[]) AS wanted (topic, number) WHERE ",
        in_unit!(),
        " ORDER BY topic, number ON CONFLICT (service, topic, \"partition\") DO UPDATE SET epoch = known.epoch + 1 \
         RETURNING topic, \"partition\", epoch, applied, log"
    );
    let rows = sqlx::query(sql)
        .bind(service)
        .bind(partitions.iter().map(|partition| escaped(&partition.topic)).collect::<Vec<_>>())
        .bind(partitions.iter().map(|partition| partition.partition).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let mut owned = HashMap::with_capacity(rows.len());
    for row in &rows {
        let partition = TopicPartition { topic: unescaped(row.try_get(0)?), partition: row.try_get(1)? };
        owned.insert(partition, (row.try_get(2)?, row.try_get(3)?, row.try_get::<Option<String>, _>(4)?.map(unescaped)));
    }
    let known = |partition: &TopicPartition| {
        let (epoch, applied, log) = owned.get(partition).cloned().ok_or(sqlx::Error::RowNotFound)?;
        Ok(Ownership { partition: partition.clone(), epoch, applied, log })
    };
    partitions.iter().map(known).collect()
}

pub(in crate::store::postgres) async fn apply(
    connection: &mut PgConnection,
    service: &str,
    applied: &[Ownership],
    merge: Merge,
) -> Result<Vec<bool>, Failed> {
    macro_rules! update {
        ($offset:literal) => {
            concat!(
                "WITH standing AS (SELECT known.topic, known.\"partition\", wanted.applied, wanted.log, wanted.place \
                 FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::text[]) \
                 WITH ORDINALITY AS wanted (topic, number, epoch, applied, log, place) \
                 JOIN sagas_partitions AS known ON known.service = $1 AND known.topic = wanted.topic \
                 AND known.\"partition\" = wanted.number AND known.epoch = wanted.epoch \
                 ORDER BY known.topic, known.\"partition\" FOR NO KEY UPDATE OF known), \
                 changed AS (UPDATE sagas_partitions AS old SET applied = ",
                $offset,
                ", log = coalesce(standing.log, old.log) FROM standing WHERE old.service = $1 AND old.topic = standing.topic \
                 AND old.\"partition\" = standing.\"partition\" AND ",
                in_unit!(),
                ") SELECT place FROM standing"
            )
        };
    }
    let sql = match merge {
        Merge::Forwards => update!("greatest(old.applied, standing.applied)"),
        Merge::Replace => update!("coalesce(standing.applied, old.applied)"),
    };
    let places = sqlx::query_scalar(sql)
        .bind(service)
        .bind(applied.iter().map(|owned| escaped(&owned.partition.topic)).collect::<Vec<_>>())
        .bind(applied.iter().map(|owned| owned.partition.partition).collect::<Vec<_>>())
        .bind(applied.iter().map(|owned| owned.epoch).collect::<Vec<_>>())
        .bind(applied.iter().map(|owned| owned.applied).collect::<Vec<_>>())
        .bind(applied.iter().map(|owned| owned.log.as_deref().map(escaped)).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    Ok(at(&places, applied.len()))
}

pub(in crate::store::postgres) async fn hold(
    connection: &mut PgConnection,
    service: &str,
    owned: &[(TopicPartition, i64)],
) -> Result<Vec<bool>, Failed> {
    let sql = "SELECT wanted.place FROM unnest($2::text[], $3::int[], $4::bigint[]) \
               WITH ORDINALITY AS wanted (topic, number, epoch, place) \
               JOIN sagas_partitions AS known ON known.service = $1 AND known.topic = wanted.topic \
               AND known.\"partition\" = wanted.number AND known.epoch = wanted.epoch \
               ORDER BY known.topic, known.\"partition\" FOR KEY SHARE OF known";
    let places = sqlx::query_scalar(sql)
        .bind(service)
        .bind(owned.iter().map(|(partition, _)| escaped(&partition.topic)).collect::<Vec<_>>())
        .bind(owned.iter().map(|(partition, _)| partition.partition).collect::<Vec<_>>())
        .bind(owned.iter().map(|(_, epoch)| *epoch).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    Ok(at(&places, owned.len()))
}

/// Returns which of `count` positions are in `places`, counted from 1.
fn at(places: &[i64], count: usize) -> Vec<bool> {
    let mut there = vec![false; count];
    for place in places {
        if let Some(there) = usize::try_from(place - 1).ok().and_then(|place| there.get_mut(place)) {
            *there = true;
        }
    }
    there
}
