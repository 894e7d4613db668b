//! Queries on dead letters.

use sqlx::{PgConnection, Postgres, QueryBuilder, Row, postgres::PgRow};

use super::{
    super::text::{escaped, identity, unescaped},
    Failed, counted,
    received::{self, columns},
    unreadable,
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
         coalesce(octet_length(letter.value), 0), letter.handler"
    };
}

/// The columns of a summary, in the order in which [`summary`] reads them.
const SUMMARY: &str = concat!(head!(), ", letter.event_type, letter.error, letter.attempts, letter.at, letter.unpublished");

fn state(code: &str) -> Result<DeadLetterState, Failed> {
    Ok(DeadLetterState::of(code).ok_or_else(unreadable)?)
}

fn read(row: &PgRow) -> Result<DeadLetter, Failed> {
    Ok(DeadLetter {
        id: MessageId::new(unescaped(row.try_get(0)?)),
        event_type: row.try_get::<Option<String>, _>(1)?.map(unescaped),
        error: unescaped(row.try_get(2)?),
        attempts: u32::try_from(row.try_get::<i64, _>(3)?).map_err(|_| unreadable())?,
        at: Timestamp::from_millis(row.try_get(4)?),
        state: state(row.try_get(5)?)?,
        unpublished: row.try_get::<Option<String>, _>(6)?.map(unescaped),
        received: received::read(row, 7)?,
    })
}

fn head(row: &PgRow, first: usize) -> Result<LetterHead, Failed> {
    Ok(LetterHead {
        id: MessageId::new(unescaped(row.try_get(first)?)),
        state: state(row.try_get(first + 1)?)?,
        partition: TopicPartition::new(unescaped(row.try_get(first + 2)?), row.try_get(first + 3)?),
        offset: row.try_get(first + 4)?,
        key: row.try_get::<Option<Vec<u8>>, _>(first + 5)?.map(Into::into),
        bytes: usize::try_from(row.try_get::<i32, _>(first + 6)?).map_err(|_| unreadable())?,
        handler: row.try_get::<Option<String>, _>(first + 7)?.map(unescaped),
    })
}

fn summary(row: &PgRow) -> Result<LetterSummary, Failed> {
    Ok(LetterSummary {
        head: head(row, 0)?,
        event_type: row.try_get::<Option<String>, _>(8)?.map(unescaped),
        error: unescaped(row.try_get(9)?),
        attempts: u32::try_from(row.try_get::<i64, _>(10)?).map_err(|_| unreadable())?,
        at: Timestamp::from_millis(row.try_get(11)?),
        unpublished: row.try_get::<Option<String>, _>(12)?.map(unescaped),
    })
}

/// A statement that selects `what` of the dead letters that match `filter`.
fn wanted(what: &str, service: &str, filter: &DeadLetterFilter) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(what).push(" FROM sagas_dead_letters AS letter WHERE service = ").push_bind(service.to_owned());
    if let Some(state) = filter.state {
        // Written into the text, so that the planner can choose the index for this state.
        sql.push(" AND state = '").push(state.as_str()).push("'");
    }
    if let Some(topic) = &filter.topic {
        sql.push(" AND topic = ").push_bind(escaped(topic).into_owned());
    }
    if let Some(key) = &filter.key {
        sql.push(" AND record_key = ").push_bind(key.to_vec());
    }
    if let Some(event) = &filter.event_type {
        sql.push(" AND event_type = ").push_bind(escaped(event).into_owned());
    }
    if let Some(error) = &filter.error {
        sql.push(" AND strpos(error, ").push_bind(escaped(error).into_owned()).push(") > 0");
    }
    if let Some(since) = filter.since {
        sql.push(" AND at >= ").push_bind(since.as_millis());
    }
    if let Some(until) = filter.until {
        sql.push(" AND at < ").push_bind(until.as_millis());
    }
    sql
}

/// Returns one page, and the total number of matches. There are many different texts, so these statements are not cached.
pub(in crate::store::postgres) async fn page(
    connection: &mut PgConnection,
    service: &str,
    filter: &DeadLetterFilter,
    offset: u64,
    limit: u32,
) -> Result<(Vec<LetterSummary>, u64), Failed> {
    let mut count = wanted("count(*)", service, filter);
    let total: i64 = count.build_query_scalar().persistent(false).fetch_one(&mut *connection).await?;
    let mut letters = Vec::new();
    if limit > 0 {
        let rows = newest(service, filter, offset, limit).build().persistent(false).fetch_all(connection).await?;
        letters = rows.iter().map(summary).collect::<Result<_, _>>()?;
    }
    Ok((letters, counted(total)?))
}

/// The statement that reads a page.
pub(in crate::store::postgres) fn newest(
    service: &str,
    filter: &DeadLetterFilter,
    offset: u64,
    limit: u32,
) -> QueryBuilder<Postgres> {
    let mut sql = wanted(SUMMARY, service, filter);
    sql.push(" ORDER BY place DESC LIMIT ").push_bind(i64::from(limit));
    sql.push(" OFFSET ").push_bind(i64::try_from(offset).unwrap_or(i64::MAX));
    sql
}

pub(in crate::store::postgres) async fn heads(
    connection: &mut PgConnection,
    service: &str,
    filter: &DeadLetterFilter,
    after: Option<&LetterHead>,
    limit: u32,
) -> Result<Vec<LetterHead>, Failed> {
    let rows = in_order(service, filter, after, limit).build().persistent(false).fetch_all(connection).await?;
    rows.iter().map(|row| head(row, 0)).collect()
}

/// The statement that reads heads in the order of their positions.
pub(in crate::store::postgres) fn in_order(
    service: &str,
    filter: &DeadLetterFilter,
    after: Option<&LetterHead>,
    limit: u32,
) -> QueryBuilder<Postgres> {
    let mut sql = wanted(head!(), service, filter);
    if let Some(after) = after {
        sql.push(" AND (topic, \"partition\", \"offset\", id) > (");
        sql.push_bind(escaped(&after.partition.topic).into_owned());
        sql.push(", ").push_bind(after.partition.partition).push(", ").push_bind(after.offset);
        sql.push(", ").push_bind(escaped(after.id.as_str()).into_owned()).push(")");
    }
    sql.push(" ORDER BY topic, \"partition\", \"offset\", id LIMIT ").push_bind(i64::from(limit));
    sql
}

pub(in crate::store::postgres) async fn one(
    connection: &mut PgConnection,
    service: &str,
    id: &DeadLetterId,
) -> Result<Option<DeadLetter>, Failed> {
    Ok(by_id(connection, service, std::slice::from_ref(id)).await?.pop())
}

pub(in crate::store::postgres) async fn by_id(
    connection: &mut PgConnection,
    service: &str,
    ids: &[DeadLetterId],
) -> Result<Vec<DeadLetter>, Failed> {
    let sql = concat!("SELECT ", letter!(), " FROM sagas_dead_letters WHERE service = $1 AND id = ANY($2)");
    let ids: Vec<_> = ids.iter().map(|id| escaped(id.as_str())).collect();
    let rows = sqlx::query(sql).bind(service).bind(ids).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// Returns the dead letters of each of `messages`.
pub(in crate::store::postgres) async fn of_messages(
    connection: &mut PgConnection,
    service: &str,
    messages: &[InboxKey],
) -> Result<Vec<Vec<LetterHead>>, Failed> {
    let mut found = vec![Vec::new(); messages.len()];
    let sources: Vec<_> = messages.iter().map(|key| identity(&key.source)).collect();
    let ids: Vec<_> = messages.iter().map(|key| identity(key.id.as_str())).collect();
    for row in sqlx::query(OF_MESSAGES).bind(service).bind(sources).bind(ids).fetch_all(connection).await? {
        let number = usize::try_from(row.try_get::<i64, _>(0)? - 1).map_err(|_| unreadable())?;
        found.get_mut(number).ok_or_else(unreadable)?.push(head(&row, 1)?);
    }
    Ok(found)
}

/// `$1` is the service, `$2` the sources, `$3` the ids.
pub(in crate::store::postgres) const OF_MESSAGES: &str = concat!(
    "SELECT wanted.number, ",
    head!(),
    " FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS wanted (source, id, number) JOIN sagas_dead_letters AS letter \
     ON letter.service = $1 AND letter.source = wanted.source AND letter.message_id = wanted.id ORDER BY wanted.number, letter.place"
);
