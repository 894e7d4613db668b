//! Queries on dead letters.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};

use super::{
    Failed, counted, parameters, portions,
    received::{self, columns},
    unreadable, values,
};
use crate::{
    id::MessageId,
    message::TopicPartition,
    store::{DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterState, InboxKey, LetterHead, LetterSummary},
    time::Timestamp,
};

/// The columns of a letter, in the order in which [`read`] reads them.
macro_rules! letter {
    () => {
        concat!("id, event_type, error, attempts, at, state, unpublished, ", columns!())
    };
}

/// The columns of a head, in the order in which [`head`] reads them.
macro_rules! head {
    () => {
        "letter.id, letter.state, letter.topic, letter.\"partition\", letter.\"offset\", letter.record_key, \
         coalesce(length(letter.value), 0), letter.handler"
    };
}

/// The columns of a summary, in the order in which [`summary`] reads them.
const SUMMARY: &str = concat!(head!(), ", letter.event_type, letter.error, letter.attempts, letter.at, letter.unpublished");

fn state(code: &str) -> Result<DeadLetterState, Failed> {
    Ok(DeadLetterState::of(code).ok_or_else(unreadable)?)
}

fn read(row: &SqliteRow) -> Result<DeadLetter, Failed> {
    Ok(DeadLetter {
        id: MessageId::new(row.try_get::<String, _>(0)?),
        event_type: row.try_get(1)?,
        error: row.try_get(2)?,
        attempts: row.try_get(3)?,
        at: Timestamp::from_millis(row.try_get(4)?),
        state: state(row.try_get(5)?)?,
        unpublished: row.try_get(6)?,
        received: received::read(row, 7)?,
    })
}

fn head(row: &SqliteRow, first: usize) -> Result<LetterHead, Failed> {
    Ok(LetterHead {
        id: MessageId::new(row.try_get::<String, _>(first)?),
        state: state(row.try_get(first + 1)?)?,
        partition: TopicPartition::new(row.try_get::<String, _>(first + 2)?, row.try_get(first + 3)?),
        offset: row.try_get(first + 4)?,
        key: row.try_get::<Option<Vec<u8>>, _>(first + 5)?.map(Into::into),
        bytes: usize::try_from(row.try_get::<i64, _>(first + 6)?).map_err(|_| unreadable())?,
        handler: row.try_get(first + 7)?,
    })
}

fn summary(row: &SqliteRow) -> Result<LetterSummary, Failed> {
    Ok(LetterSummary {
        head: head(row, 0)?,
        event_type: row.try_get(8)?,
        error: row.try_get(9)?,
        attempts: row.try_get(10)?,
        at: Timestamp::from_millis(row.try_get(11)?),
        unpublished: row.try_get(12)?,
    })
}

/// A statement that selects `what` of the dead letters that match `filter`.
fn wanted(what: &str, service: &str, filter: &DeadLetterFilter) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(format!("SELECT {what} FROM sagas_dead_letters AS letter WHERE service = "));
    sql.push_bind(service.to_owned());
    if let Some(state) = filter.state {
        sql.push(" AND state = ").push_bind(state.as_str());
    }
    if let Some(topic) = &filter.topic {
        sql.push(" AND topic = ").push_bind(topic.clone());
    }
    if let Some(key) = &filter.key {
        sql.push(" AND record_key = ").push_bind(key.to_vec());
    }
    if let Some(event) = &filter.event_type {
        sql.push(" AND event_type = ").push_bind(event.clone());
    }
    if let Some(error) = &filter.error {
        sql.push(" AND instr(error, ").push_bind(error.clone()).push(") > 0");
    }
    if let Some(since) = filter.since {
        sql.push(" AND at >= ").push_bind(since.as_millis());
    }
    if let Some(until) = filter.until {
        sql.push(" AND at < ").push_bind(until.as_millis());
    }
    sql
}

/// Returns one page, and the total number of matches.
pub(in crate::store::sqlite) async fn page(
    connection: &mut SqliteConnection,
    service: &str,
    filter: &DeadLetterFilter,
    offset: u64,
    limit: u32,
) -> Result<(Vec<LetterSummary>, u64), Failed> {
    let total: i64 = wanted("count(*)", service, filter).build_query_scalar().fetch_one(&mut *connection).await?;
    let mut letters = Vec::new();
    if limit > 0 {
        let rows = newest(service, filter, offset, limit).build().fetch_all(connection).await?;
        letters = rows.iter().map(summary).collect::<Result<_, _>>()?;
    }
    Ok((letters, counted(total)?))
}

/// The statement that reads a page.
pub(in crate::store::sqlite) fn newest(
    service: &str,
    filter: &DeadLetterFilter,
    offset: u64,
    limit: u32,
) -> QueryBuilder<Sqlite> {
    let mut sql = wanted(SUMMARY, service, filter);
    sql.push(" ORDER BY place DESC LIMIT ").push_bind(limit);
    sql.push(" OFFSET ").push_bind(i64::try_from(offset).unwrap_or(i64::MAX));
    sql
}

pub(in crate::store::sqlite) async fn heads(
    connection: &mut SqliteConnection,
    service: &str,
    filter: &DeadLetterFilter,
    after: Option<&LetterHead>,
    limit: u32,
) -> Result<Vec<LetterHead>, Failed> {
    let rows = in_order(service, filter, after, limit).build().fetch_all(connection).await?;
    rows.iter().map(|row| head(row, 0)).collect()
}

/// The statement that reads heads in the order of their positions.
pub(in crate::store::sqlite) fn in_order(
    service: &str,
    filter: &DeadLetterFilter,
    after: Option<&LetterHead>,
    limit: u32,
) -> QueryBuilder<Sqlite> {
    let mut sql = wanted(head!(), service, filter);
    if let Some(after) = after {
        sql.push(" AND (topic, \"partition\", \"offset\", id) > (").push_bind(after.partition.topic.clone());
        sql.push(", ").push_bind(after.partition.partition).push(", ").push_bind(after.offset);
        sql.push(", ").push_bind(after.id.to_string()).push(")");
    }
    sql.push(" ORDER BY topic, \"partition\", \"offset\", id LIMIT ").push_bind(limit);
    sql
}

pub(in crate::store::sqlite) async fn one(
    connection: &mut SqliteConnection,
    service: &str,
    id: &DeadLetterId,
) -> Result<Option<DeadLetter>, Failed> {
    let sql = concat!("SELECT ", letter!(), " FROM sagas_dead_letters WHERE service = ?1 AND id = ?2");
    let row = sqlx::query(sql).bind(service).bind(id.as_str()).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

pub(in crate::store::sqlite) async fn by_id(
    connection: &mut SqliteConnection,
    service: &str,
    ids: &[DeadLetterId],
) -> Result<Vec<DeadLetter>, Failed> {
    let mut letters = Vec::with_capacity(ids.len());
    for portion in portions(ids) {
        let sql = format!(
            concat!("SELECT ", letter!(), " FROM sagas_dead_letters WHERE service = ?1 AND id IN ({})"),
            parameters(1, portion.len())
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service);
        for id in portion {
            query = query.bind(id.as_str());
        }
        for row in query.fetch_all(&mut *connection).await? {
            letters.push(read(&row)?);
        }
    }
    Ok(letters)
}

/// Returns the dead letters of each of `messages`.
pub(in crate::store::sqlite) async fn of_messages(
    connection: &mut SqliteConnection,
    service: &str,
    messages: &[InboxKey],
) -> Result<Vec<Vec<LetterHead>>, Failed> {
    let mut found: HashMap<InboxKey, Vec<LetterHead>> = HashMap::new();
    for portion in portions(messages) {
        let sql = of_messages_sql(portion.len());
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for key in portion {
            query = query.bind(&key.source).bind(key.id.as_str());
        }
        for row in query.bind(service).fetch_all(&mut *connection).await? {
            let key = InboxKey { source: row.try_get(0)?, id: MessageId::new(row.try_get::<String, _>(1)?) };
            let (letters, head) = (found.entry(key).or_default(), head(&row, 2)?);
            // A message that is given twice yields each of its rows twice.
            if !letters.contains(&head) {
                letters.push(head);
            }
        }
    }
    Ok(messages.iter().map(|key| found.get(key).cloned().unwrap_or_default()).collect())
}

/// The statement that reads the dead letters of `count` messages.
pub(in crate::store::sqlite) fn of_messages_sql(count: usize) -> String {
    format!(
        "WITH wanted (source, id) AS (VALUES {}) SELECT wanted.source, wanted.id, {} FROM wanted \
         CROSS JOIN sagas_dead_letters AS letter \
         ON letter.service = ?{} AND letter.source = wanted.source AND letter.message_id = wanted.id",
        values(count, 0, 2),
        head!(),
        count * 2 + 1
    )
}
