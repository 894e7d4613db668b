//! The number of partitions of topics.

use std::collections::HashMap;

use sqlx::{PgConnection, Row};

use super::{
    super::text::{escaped, unescaped},
    Failed, gone, in_unit,
};

/// Records the numbers. Returns for each topic whether another number was ever recorded.
pub(in crate::store::postgres) async fn note(
    connection: &mut PgConnection,
    service: &str,
    topics: &[(String, i32)],
) -> Result<Vec<bool>, Failed> {
    let sql = concat!(
        "INSERT INTO sagas_topics AS known (service, topic, partitions, moved) \
         SELECT $1, topic, max(partitions), false FROM unnest($2::text[], $3::int[]) AS new (topic, partitions) WHERE ",
        in_unit!(),
        " GROUP BY topic ORDER BY topic ON CONFLICT (service, topic) DO UPDATE \
         SET moved = known.moved OR known.partitions <> excluded.partitions, partitions = excluded.partitions RETURNING topic, moved"
    );
    let rows = sqlx::query(sql)
        .bind(service)
        .bind(topics.iter().map(|(topic, _)| escaped(topic)).collect::<Vec<_>>())
        .bind(topics.iter().map(|(_, partitions)| *partitions).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let mut moved: HashMap<String, bool> = HashMap::with_capacity(rows.len());
    for row in &rows {
        moved.insert(unescaped(row.try_get(0)?), row.try_get(1)?);
    }
    topics.iter().map(|(topic, _)| moved.get(topic).copied().ok_or_else(gone)).collect()
}
