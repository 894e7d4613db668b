//! Dead letters: messages that were given up, as they came.

use std::collections::HashMap;

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    super::text::{escaped, unescaped},
    Failed, gone, in_unit,
    received::{self, columns},
    unreadable,
};
use crate::{
    id::MessageId,
    store::{DeadLetter, DeadLetterId, DeadLetterState},
    time::Timestamp,
};

fn code(state: DeadLetterState) -> &'static str {
    match state {
        DeadLetterState::Open => "open",
        DeadLetterState::Retried => "retried",
        DeadLetterState::Discarded => "discarded",
    }
}

fn state(code: &str) -> Result<DeadLetterState, Failed> {
    let states = [DeadLetterState::Open, DeadLetterState::Retried, DeadLetterState::Discarded];
    Ok(states.into_iter().find(|state| self::code(*state) == code).ok_or_else(unreadable)?)
}

/// Of letters with the same identity the last is kept: one statement cannot write a row twice.
pub(in crate::store::postgres) async fn bury(
    connection: &mut PgConnection,
    service: &str,
    letters: &[DeadLetter],
) -> Result<(), Failed> {
    if letters.is_empty() {
        return Ok(());
    }
    let last: HashMap<&DeadLetterId, usize> = letters.iter().enumerate().map(|(at, letter)| (&letter.id, at)).collect();
    let kept = letters.iter().enumerate().filter(|(at, letter)| last[&letter.id] == *at);
    let letters: Vec<&DeadLetter> = kept.map(|(_, letter)| letter).collect();
    let sql = concat!(
        "INSERT INTO sagas_dead_letters (service, id, event_type, error, attempts, at, state, unpublished, ",
        columns!(),
        ") SELECT $1, id, event_type, error, attempts, at, state, unpublished, ",
        columns!(),
        " FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], \
         $8::text[], $9::text[], $10::int[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bytea[], $15::bigint[]) \
         WITH ORDINALITY AS new (id, event_type, error, attempts, at, state, unpublished, ",
        columns!(),
        ", position) WHERE ",
        in_unit!(),
        " ORDER BY position ON CONFLICT (service, id) DO UPDATE SET (place, event_type, error, attempts, at, state, unpublished, ",
        columns!(),
        ") = (EXCLUDED.place, EXCLUDED.event_type, EXCLUDED.error, EXCLUDED.attempts, EXCLUDED.at, EXCLUDED.state, EXCLUDED.unpublished, \
         EXCLUDED.topic, EXCLUDED.\"partition\", EXCLUDED.\"offset\", EXCLUDED.record_key, EXCLUDED.value, EXCLUDED.headers, \
         EXCLUDED.timestamp)"
    );
    let query = sqlx::query(sql)
        .bind(service)
        .bind(letters.iter().map(|letter| escaped(letter.id.as_str())).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| letter.event_type.as_deref().map(escaped)).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| escaped(&letter.error)).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| i64::from(letter.attempts)).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| letter.at.as_millis()).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| code(letter.state)).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| letter.unpublished.as_deref().map(escaped)).collect::<Vec<_>>());
    let received: Vec<_> = letters.iter().map(|letter| &letter.received).collect();
    let done = received::bind(query, &received).execute(connection).await?;
    if done.rows_affected() == 0 { Err(gone()) } else { Ok(()) }
}

pub(in crate::store::postgres) async fn settle(
    connection: &mut PgConnection,
    service: &str,
    id: &DeadLetterId,
    state: DeadLetterState,
) -> Result<bool, Failed> {
    let sql = concat!(
        "WITH settled AS (UPDATE sagas_dead_letters SET state = $3 WHERE service = $1 AND id = $2 AND state = 'open' AND ",
        in_unit!(),
        " RETURNING id) SELECT count(*) = 1, (",
        in_unit!(),
        ") IS TRUE FROM settled"
    );
    let query = sqlx::query_as(sql).bind(service).bind(escaped(id.as_str())).bind(code(state));
    let (settled, in_unit): (bool, bool) = query.fetch_one(connection).await?;
    if in_unit { Ok(settled) } else { Err(gone()) }
}

pub(in crate::store::postgres) async fn mark_unpublished(
    connection: &mut PgConnection,
    service: &str,
    id: &DeadLetterId,
    why: &str,
) -> Result<bool, Failed> {
    let sql = concat!(
        "WITH marked AS (UPDATE sagas_dead_letters SET unpublished = $3 WHERE service = $1 AND id = $2 AND ",
        in_unit!(),
        " RETURNING id) SELECT count(*) = 1, (",
        in_unit!(),
        ") IS TRUE FROM marked"
    );
    let query = sqlx::query_as(sql).bind(service).bind(escaped(id.as_str())).bind(escaped(why));
    let (marked, in_unit): (bool, bool) = query.fetch_one(connection).await?;
    if in_unit { Ok(marked) } else { Err(gone()) }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, event_type, error, attempts, at, state, unpublished, ",
            columns!(),
            " FROM sagas_dead_letters WHERE ",
            $rest
        )
    };
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

pub(in crate::store::postgres) async fn open(
    connection: &mut PgConnection,
    service: &str,
    offset: u64,
    limit: u32,
) -> Result<(Vec<DeadLetter>, u64), Failed> {
    let count = "SELECT count(*) FROM sagas_dead_letters WHERE service = $1 AND state = 'open'";
    let total: i64 = sqlx::query_scalar(count).bind(service).fetch_one(&mut *connection).await?;
    let sql = select!("service = $1 AND state = 'open' ORDER BY place DESC LIMIT $2 OFFSET $3");
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    let rows = sqlx::query(sql).bind(service).bind(i64::from(limit)).bind(offset).fetch_all(connection).await?;
    let letters: Result<Vec<_>, _> = rows.iter().map(read).collect();
    Ok((letters?, u64::try_from(total).map_err(|_| unreadable())?))
}

pub(in crate::store::postgres) async fn one(
    connection: &mut PgConnection,
    service: &str,
    id: &DeadLetterId,
) -> Result<Option<DeadLetter>, Failed> {
    let sql = select!("service = $1 AND id = $2");
    let row = sqlx::query(sql).bind(service).bind(escaped(id.as_str())).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}
