//! Records in the file: their positions, and the statements that write and read many of them at once.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use sqlx::{AssertSqlSafe, Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::headers;
use crate::{
    message::{Received, Record},
    time::{LogTime, Timestamp},
    transport::local::{Limits, Partition},
};

/// The number of bits of a position that contain the offset. The other bits contain the row of the partition. This is enough for 10^12
/// records in each of 8 million partitions.
const OFFSET_BITS: u32 = 40;

/// Returns the position of offset 0 of the partition in this row.
pub(super) const fn first_position(row: i64) -> i64 {
    row << OFFSET_BITS
}

/// The binary logarithm of the maximum number of rows of one statement.
const MOST_ROWS_LOG2: usize = 7;

/// Statements that insert 1, 2, 4, ... rows. SQLite prepares these few once, instead of one statement for every number of rows.
static INSERTS: LazyLock<[Arc<str>; MOST_ROWS_LOG2 + 1]> = LazyLock::new(|| {
    std::array::from_fn(|log2| {
        let rows = vec!["(?, ?, ?, ?, ?, ?)"; 1 << log2].join(", ");
        format!("INSERT INTO records (position, stored_at, timestamp, key, headers, value) VALUES {rows}").into()
    })
});

/// Inserts records of one partition. The first gets the offset `first`.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    partition: &Partition,
    first: i64,
    mut records: &[Arc<Record>],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut position = first_position(partition.row) + first;
    while !records.is_empty() {
        let log2 = (records.len().ilog2() as usize).min(MOST_ROWS_LOG2);
        let (chunk, rest) = records.split_at(1 << log2);
        let mut insert = sqlx::query(AssertSqlSafe(Arc::clone(&INSERTS[log2])));
        for record in chunk {
            insert = insert
                .bind(position)
                .bind(now.as_millis())
                .bind(record.timestamp.as_millis())
                .bind(record.key.as_deref())
                .bind(headers::encode(&record.headers))
                .bind(record.value.as_deref());
            position += 1;
        }
        insert.execute(&mut *connection).await?;
        records = rest;
    }
    Ok(())
}

/// The reason why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("record {0} is damaged or missing; restore the log from a backup")]
    Damaged(i64),
}

/// Reads records from offset `from` on, within `limits` but at least one, and only those before the end that the partition shows to
/// readers.
pub(super) async fn read(
    readers: &SqlitePool,
    partition: &Partition,
    from: i64,
    limits: Limits,
) -> Result<Vec<Received>, ReadError> {
    let zero = first_position(partition.row);
    let (_, end) = partition.bounds();
    let mut connection = readers.acquire().await?;
    // Read the lengths first, for which SQLite does not load the values. This way the records that are then fetched fit in memory.
    let last: i64 = sqlx::query_scalar(
        "SELECT coalesce(max(position), ?1) FROM (
            SELECT position, sum(coalesce(length(key), 0) + length(headers) + coalesce(length(value), 0))
                OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) AS bytes
            FROM records WHERE position >= ?1 AND position < ?2 ORDER BY position LIMIT ?3
        ) WHERE bytes <= ?4",
    )
    .bind(zero + from)
    .bind(zero + end)
    .bind(i64::try_from(limits.records.max(1)).unwrap_or(i64::MAX))
    .bind(i64::try_from(limits.bytes).unwrap_or(i64::MAX))
    .fetch_one(&mut *connection)
    .await?;
    let rows = sqlx::query(
        "SELECT position, timestamp, key, headers, value FROM records WHERE position >= ? AND position <= ? ORDER BY position",
    )
    .bind(zero + from)
    .bind(last)
    .fetch_all(&mut *connection)
    .await?;
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        let offset = from + records.len() as i64;
        if row.try_get::<i64, _>(0)? != zero + offset {
            return Err(ReadError::Damaged(offset));
        }
        let record = decode(&partition.id.topic, row)?.ok_or(ReadError::Damaged(offset))?;
        records.push(Received { record: Arc::new(record), partition: partition.id.partition, offset });
    }
    Ok(records)
}

fn decode(topic: &str, row: &SqliteRow) -> Result<Option<Record>, sqlx::Error> {
    let blob = |column| row.try_get::<Option<&[u8]>, _>(column).map(|bytes| bytes.map(Bytes::copy_from_slice));
    let Some(headers) = headers::decode(row.try_get(3)?) else { return Ok(None) };
    Ok(Some(Record {
        topic: topic.to_owned(),
        key: blob(2)?,
        value: blob(4)?,
        headers,
        timestamp: LogTime::from_millis(row.try_get(1)?),
    }))
}
