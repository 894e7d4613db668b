//! A received message as columns, in the tables of parked messages and dead letters.

use bytes::Bytes;
use sqlx::{
    Row, Sqlite,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::Failed;
use crate::{
    message::{Received, Record},
    store::headers::{decode, encode},
    time::LogTime,
};

/// The columns, in the order in which [`bind`] binds and [`read`] reads them.
macro_rules! columns {
    () => {
        "topic, \"partition\", \"offset\", record_key, value, headers, timestamp"
    };
}
pub(super) use columns;

/// The number of columns.
pub(super) const COLUMNS: usize = 7;

pub(super) type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

pub(super) fn bind<'q>(query: SqliteQuery<'q>, received: &'q Received) -> SqliteQuery<'q> {
    let record = &received.record;
    query
        .bind(&record.topic)
        .bind(received.partition)
        .bind(received.offset)
        .bind(record.key.as_deref())
        .bind(record.value.as_deref())
        .bind(encode(&record.headers))
        .bind(record.timestamp.as_millis())
}

/// Reads the message from the columns that begin at index `first`.
pub(super) fn read(row: &SqliteRow, first: usize) -> Result<Received, Failed> {
    let record = Record {
        topic: row.try_get(first)?,
        key: row.try_get::<Option<Vec<u8>>, _>(first + 3)?.map(Bytes::from),
        value: row.try_get::<Option<Vec<u8>>, _>(first + 4)?.map(Bytes::from),
        headers: decode(row.try_get(first + 5)?)?,
        timestamp: LogTime::from_millis(row.try_get(first + 6)?),
    };
    Ok(Received { record: record.into(), partition: row.try_get(first + 1)?, offset: row.try_get(first + 2)? })
}
