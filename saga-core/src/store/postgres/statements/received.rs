//! A received message as columns, in the tables of parked messages and dead letters.

use bytes::Bytes;
use sqlx::{
    Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{
    super::text::{escaped, unescaped},
    Failed,
};
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

pub(super) type PgQuery<'q> = Query<'q, Postgres, PgArguments>;

/// Binds the columns as arrays: `text[], int[], bigint[], bytea[], bytea[], bytea[], bigint[]`.
pub(super) fn bind<'q>(query: PgQuery<'q>, received: &[&'q Received]) -> PgQuery<'q> {
    query
        .bind(received.iter().map(|received| escaped(&received.record.topic)).collect::<Vec<_>>())
        .bind(received.iter().map(|received| received.partition).collect::<Vec<_>>())
        .bind(received.iter().map(|received| received.offset).collect::<Vec<_>>())
        .bind(received.iter().map(|received| received.record.key.as_deref()).collect::<Vec<_>>())
        .bind(received.iter().map(|received| received.record.value.as_deref()).collect::<Vec<_>>())
        .bind(received.iter().map(|received| encode(&received.record.headers)).collect::<Vec<_>>())
        .bind(received.iter().map(|received| received.record.timestamp.as_millis()).collect::<Vec<_>>())
}

/// Reads the message from the columns that begin at index `first`.
pub(super) fn read(row: &PgRow, first: usize) -> Result<Received, Failed> {
    let record = Record {
        topic: unescaped(row.try_get(first)?),
        key: row.try_get::<Option<Vec<u8>>, _>(first + 3)?.map(Bytes::from),
        value: row.try_get::<Option<Vec<u8>>, _>(first + 4)?.map(Bytes::from),
        headers: decode(row.try_get(first + 5)?)?,
        timestamp: LogTime::from_millis(row.try_get(first + 6)?),
    };
    Ok(Received { record: record.into(), partition: row.try_get(first + 1)?, offset: row.try_get(first + 2)? })
}
