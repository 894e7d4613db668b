//! The number of partitions of topics.

use sqlx::SqliteConnection;

use super::Failed;

/// Records the numbers. Returns for each topic whether another number was ever recorded.
pub(in crate::store::sqlite) async fn note(
    connection: &mut SqliteConnection,
    service: &str,
    topics: &[(String, i32)],
) -> Result<Vec<bool>, Failed> {
    let sql = "INSERT INTO sagas_topics (service, topic, partitions, moved) VALUES (?1, ?2, ?3, 0) ON CONFLICT (service, topic) \
               DO UPDATE SET moved = moved OR partitions <> excluded.partitions, partitions = excluded.partitions RETURNING moved";
    let mut moved = Vec::with_capacity(topics.len());
    for (topic, partitions) in topics {
        moved.push(sqlx::query_scalar(sql).bind(service).bind(topic).bind(partitions).fetch_one(&mut *connection).await?);
    }
    Ok(moved)
}
