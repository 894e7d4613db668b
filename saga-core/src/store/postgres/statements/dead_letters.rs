//! Dead letters: messages that were given up, as they were received. The queries on them are in [`super::letter_queries`].

use std::collections::{HashMap, HashSet};

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::{
    super::text::{escaped, identity, unescaped},
    Failed, gone, in_unit,
    received::{self, columns},
};
use crate::{
    store::{DeadLetter, DeadLetterId, DeadLetterState, HELD, LetterHead, ParkedId, PrunedLetters, headers},
    time::Timestamp,
};

/// Inserts `letters`. Of several with the same id the last is inserted, because one statement cannot write a row twice.
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
    let known_by: Vec<_> = letters.iter().map(|letter| letter.known_by()).collect();
    let sql = concat!(
        "INSERT INTO sagas_dead_letters (service, id, event_type, error, attempts, at, state, settled_at, source, message_id, unpublished, handler, ",
        columns!(),
        ") SELECT $1, id, event_type, error, attempts, at, state, settled_at, source, message_id, unpublished, handler, ",
        columns!(),
        " FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::text[], \
         $10::text[], $11::text[], $12::text[], $13::text[], $14::int[], $15::bigint[], $16::bytea[], $17::bytea[], $18::bytea[], \
         $19::bigint[]) \
         WITH ORDINALITY AS new (id, event_type, error, attempts, at, state, settled_at, source, message_id, unpublished, handler, ",
        columns!(),
        ", position) WHERE ",
        in_unit!(),
        " ORDER BY position ON CONFLICT (service, id) DO UPDATE SET (place, event_type, error, attempts, at, state, settled_at, \
         source, message_id, unpublished, handler, ",
        columns!(),
        ") = (EXCLUDED.place, EXCLUDED.event_type, EXCLUDED.error, EXCLUDED.attempts, EXCLUDED.at, EXCLUDED.state, \
         EXCLUDED.settled_at, EXCLUDED.source, EXCLUDED.message_id, EXCLUDED.unpublished, EXCLUDED.handler, EXCLUDED.topic, EXCLUDED.\"partition\", \
         EXCLUDED.\"offset\", EXCLUDED.record_key, EXCLUDED.value, EXCLUDED.headers, EXCLUDED.timestamp)"
    );
    let settled = |letter: &&DeadLetter| (letter.state != DeadLetterState::Open).then_some(letter.at.as_millis());
    let query = sqlx::query(sql)
        .bind(service)
        .bind(letters.iter().map(|letter| escaped(letter.id.as_str())).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| letter.event_type.as_deref().map(escaped)).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| escaped(&letter.error)).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| i64::from(letter.attempts)).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| letter.at.as_millis()).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| letter.state.as_str()).collect::<Vec<_>>())
        .bind(letters.iter().map(settled).collect::<Vec<_>>())
        .bind(known_by.iter().map(|key| key.as_ref().map(|key| identity(&key.source))).collect::<Vec<_>>())
        .bind(known_by.iter().map(|key| key.as_ref().map(|key| identity(key.id.as_str()))).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| letter.unpublished.as_deref().map(escaped)).collect::<Vec<_>>())
        .bind(letters.iter().map(|letter| letter.handler().map(escaped)).collect::<Vec<_>>());
    let received: Vec<_> = letters.iter().map(|letter| &letter.received).collect();
    let done = received::bind(query, &received).execute(connection).await?;
    if done.rows_affected() == 0 { Err(gone()) } else { Ok(()) }
}

/// Locks the rows in the order in which they were inserted, so that two transactions that settle the same dead letters do not deadlock.
pub(in crate::store::postgres) async fn settle(
    connection: &mut PgConnection,
    service: &str,
    ids: &[DeadLetterId],
    state: DeadLetterState,
    now: Timestamp,
) -> Result<Vec<bool>, Failed> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let from: Vec<_> = DeadLetterState::ALL.into_iter().filter(|present| present.may_become(state)).collect();
    // If this transaction has ended, the statement returns NULL. A dead letter that cannot be changed to `state` is not an error.
    let sql = concat!(
        "WITH wanted AS (SELECT place FROM sagas_dead_letters WHERE service = $1 AND id = ANY($2) AND state = ANY($3) \
         ORDER BY place FOR UPDATE), settled AS (UPDATE sagas_dead_letters SET state = $4, settled_at = $5 \
         WHERE place IN (SELECT place FROM wanted) AND ",
        in_unit!(),
        " RETURNING id) SELECT id FROM settled UNION ALL SELECT NULL WHERE (",
        in_unit!(),
        ") IS NOT TRUE"
    );
    let moved: Option<Vec<String>> = sqlx::query_scalar::<_, Option<String>>(sql)
        .bind(service)
        .bind(ids.iter().map(|id| escaped(id.as_str())).collect::<Vec<_>>())
        .bind(from.iter().map(|state| state.as_str()).collect::<Vec<_>>())
        .bind(state.as_str())
        .bind(now.as_millis())
        .fetch_all(connection)
        .await?
        .into_iter()
        .collect();
    let mut moved: HashSet<String> = moved.ok_or_else(gone)?.into_iter().map(unescaped).collect();
    Ok(ids.iter().map(|id| moved.remove(id.as_str())).collect())
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

/// The condition that `parked` is the message by which `letter` holds its key. `$1` is the service, `$2` the due time. The key is that of
/// [`crate::store::parking_key`].
macro_rules! holds {
    () => {
        "parked.service = $1 AND parked.topic = letter.topic AND parked.due >= $2 \
         AND parked.\"partition\" = letter.\"partition\" AND parked.\"offset\" = letter.\"offset\" \
         AND sha256(parked.key) = sha256(coalesce(letter.record_key, \
             '\\x00'::bytea || convert_to(letter.\"partition\" || '-' || letter.\"offset\", 'UTF8'))) \
         AND parked.key = coalesce(letter.record_key, \
             '\\x00'::bytea || convert_to(letter.\"partition\" || '-' || letter.\"offset\", 'UTF8'))"
    };
}

pub(in crate::store::postgres) async fn holding(
    connection: &mut PgConnection,
    service: &str,
    letters: &[LetterHead],
) -> Result<Vec<(DeadLetterId, ParkedId)>, Failed> {
    if letters.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = letters.iter().map(|letter| escaped(letter.id.as_str())).collect();
    let rows = sqlx::query(HOLDING).bind(service).bind(HELD.as_millis()).bind(ids).fetch_all(connection).await?;
    let mut held = Vec::new();
    for row in rows {
        let (id, headers) = (DeadLetterId::new(unescaped(row.try_get(0)?)), headers::decode(row.try_get(2)?)?);
        if letters.iter().any(|letter| letter.id == id && letter.is_of_handler_in(&headers)) {
            held.push((id, row.try_get(1)?));
        }
    }
    Ok(held)
}

/// `$1` is the service, `$2` the due time of a message that holds its key, `$3` the dead letters.
pub(in crate::store::postgres) const HOLDING: &str = concat!(
    "SELECT letter.id, parked.id, parked.headers FROM sagas_dead_letters AS letter JOIN sagas_parked AS parked ON ",
    holds!(),
    " WHERE letter.service = $1 AND letter.id = ANY($3)"
);

pub(in crate::store::postgres) async fn prune(
    connection: &mut PgConnection,
    service: &str,
    open: Option<Timestamp>,
    settled: Option<Timestamp>,
    limit: u32,
) -> Result<PrunedLetters, Failed> {
    let mut pruned = PrunedLetters::default();
    if let Some(before) = open {
        let sql = AssertSqlSafe(forget(PRUNE_OPEN));
        let query = sqlx::query(sql).bind(service).bind(HELD.as_millis()).bind(before.as_millis()).bind(i64::from(limit));
        pruned.open = query.execute(&mut *connection).await?.rows_affected();
    }
    if let Some(before) = settled {
        let sql = AssertSqlSafe(forget(PRUNE_SETTLED));
        let query = sqlx::query(sql).bind(service).bind(before.as_millis()).bind(i64::from(limit));
        pruned.settled = query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(pruned)
}

fn forget(old: &str) -> String {
    format!(concat!("DELETE FROM sagas_dead_letters WHERE place = ANY(ARRAY({})) AND ", in_unit!()), old)
}

/// Selects the open dead letters to remove. `$1` is the service, `$2` the due time of a message that holds its key, `$3` the time before
/// which they were given up, `$4` the limit.
pub(in crate::store::postgres) const PRUNE_OPEN: &str = concat!(
    "SELECT place FROM sagas_dead_letters AS letter WHERE service = $1 AND state = 'open' AND at < $3 \
     AND NOT EXISTS (SELECT FROM sagas_parked AS parked WHERE ",
    holds!(),
    ") ORDER BY at LIMIT $4 FOR UPDATE SKIP LOCKED"
);

/// Selects the settled dead letters to remove. `$1` is the service, `$2` the time before which they were settled, `$3` the limit.
pub(in crate::store::postgres) const PRUNE_SETTLED: &str = "SELECT place FROM sagas_dead_letters \
     WHERE service = $1 AND settled_at < $2 ORDER BY settled_at LIMIT $3 FOR UPDATE SKIP LOCKED";
