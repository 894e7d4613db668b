//! Dead letters: messages that were given up, as they were received. The queries on them are in [`super::letter_queries`].

use std::collections::HashSet;

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{
    Failed, parameters, portions,
    received::{self, COLUMNS, columns},
    values,
};
use crate::{
    store::{DeadLetter, DeadLetterId, DeadLetterState, HELD, InboxKey, LetterHead, ParkedId, PrunedLetters, headers},
    time::Timestamp,
};

pub(in crate::store::sqlite) async fn bury(
    connection: &mut SqliteConnection,
    service: &str,
    letters: &[DeadLetter],
) -> Result<(), Failed> {
    let letters: Vec<(&DeadLetter, Option<InboxKey>)> = letters.iter().map(|letter| (letter, letter.known_by())).collect();
    for portion in portions(&letters) {
        let sql = format!(
            concat!(
                "INSERT OR REPLACE INTO sagas_dead_letters \
                 (service, id, event_type, error, attempts, at, state, unpublished, settled_at, source, message_id, \
                 handler, ",
                columns!(),
                ") VALUES {}"
            ),
            values(portion.len(), 1, 11 + COLUMNS)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service);
        for (letter, known_by) in portion {
            query = query
                .bind(letter.id.as_str())
                .bind(letter.event_type.as_deref())
                .bind(&letter.error)
                .bind(letter.attempts)
                .bind(letter.at.as_millis())
                .bind(letter.state.as_str())
                .bind(letter.unpublished.as_deref())
                .bind((letter.state != DeadLetterState::Open).then_some(letter.at.as_millis()))
                .bind(known_by.as_ref().map(|key| key.source.as_str()))
                .bind(known_by.as_ref().map(|key| key.id.as_str()))
                .bind(letter.handler());
            query = received::bind(query, &letter.received);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

pub(in crate::store::sqlite) async fn settle(
    connection: &mut SqliteConnection,
    service: &str,
    ids: &[DeadLetterId],
    state: DeadLetterState,
    now: Timestamp,
) -> Result<Vec<bool>, Failed> {
    let from = DeadLetterState::ALL.into_iter().filter(|present| present.may_become(state));
    let from: Vec<_> = from.map(|present| format!("'{}'", present.as_str())).collect();
    let mut moved: HashSet<String> = HashSet::with_capacity(ids.len());
    for portion in portions(ids) {
        let places = parameters(3, portion.len());
        let sql = format!(
            "UPDATE sagas_dead_letters SET state = ?2, settled_at = ?3 \
             WHERE service = ?1 AND id IN ({}) AND state IN ({}) RETURNING id",
            places,
            from.join(", ")
        );
        let mut query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(service).bind(state.as_str()).bind(now.as_millis());
        for id in portion {
            query = query.bind(id.as_str());
        }
        moved.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(ids.iter().map(|id| moved.remove(id.as_str())).collect())
}

pub(in crate::store::sqlite) async fn mark_unpublished(
    connection: &mut SqliteConnection,
    service: &str,
    id: &DeadLetterId,
    why: &str,
) -> Result<bool, Failed> {
    let sql = "UPDATE sagas_dead_letters SET unpublished = ?3 WHERE service = ?1 AND id = ?2";
    let done = sqlx::query(sql).bind(service).bind(id.as_str()).bind(why).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

/// The key under which the message of a dead letter is parked, in SQL: see [`crate::store::parking_key`].
macro_rules! parking_key {
    () => {
        "coalesce(letter.record_key, CAST(char(0) || letter.\"partition\" || '-' || letter.\"offset\" AS BLOB))"
    };
}

/// The condition that `parked` is the message by which `letter` holds its key. `?1` is the service.
macro_rules! holds {
    () => {
        concat!(
            "parked.service = ?1 AND parked.topic = letter.topic AND parked.key = ",
            parking_key!(),
            " AND parked.due >= ?2 AND parked.\"partition\" = letter.\"partition\" AND parked.\"offset\" = letter.\"offset\""
        )
    };
}

pub(in crate::store::sqlite) async fn holding(
    connection: &mut SqliteConnection,
    service: &str,
    letters: &[LetterHead],
) -> Result<Vec<(DeadLetterId, ParkedId)>, Failed> {
    let mut held = Vec::new();
    for portion in portions(letters) {
        let places = parameters(2, portion.len());
        let sql = format!(
            concat!(
                "SELECT letter.id, parked.id, parked.headers FROM sagas_dead_letters AS letter CROSS JOIN sagas_parked AS parked ON ",
                holds!(),
                " WHERE letter.service = ?1 AND letter.id IN ({})"
            ),
            places
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service).bind(HELD.as_millis());
        for letter in portion {
            query = query.bind(letter.id.as_str());
        }
        for row in query.fetch_all(&mut *connection).await? {
            let (id, headers) = (DeadLetterId::new(row.try_get::<String, _>(0)?), headers::decode(row.try_get(2)?)?);
            if portion.iter().any(|letter| letter.id == id && letter.is_of_handler_in(&headers)) {
                held.push((id, row.try_get(1)?));
            }
        }
    }
    Ok(held)
}

pub(in crate::store::sqlite) async fn prune(
    connection: &mut SqliteConnection,
    service: &str,
    open: Option<Timestamp>,
    settled: Option<Timestamp>,
    limit: u32,
) -> Result<PrunedLetters, Failed> {
    let mut pruned = PrunedLetters::default();
    if let Some(before) = open {
        let query = sqlx::query(PRUNE_OPEN).bind(service).bind(HELD.as_millis()).bind(before.as_millis()).bind(limit);
        pruned.open = query.execute(&mut *connection).await?.rows_affected();
    }
    if let Some(before) = settled {
        let query = sqlx::query(PRUNE_SETTLED).bind(service).bind(before.as_millis()).bind(limit);
        pruned.settled = query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(pruned)
}

pub(in crate::store::sqlite) const PRUNE_OPEN: &str = concat!(
    "DELETE FROM sagas_dead_letters WHERE place IN (SELECT place FROM sagas_dead_letters AS letter \
     WHERE service = ?1 AND state = 'open' AND at < ?3 AND NOT EXISTS (SELECT 1 FROM sagas_parked AS parked WHERE ",
    holds!(),
    ") ORDER BY at LIMIT ?4)"
);

pub(in crate::store::sqlite) const PRUNE_SETTLED: &str = "DELETE FROM sagas_dead_letters WHERE place IN (SELECT place FROM sagas_dead_letters \
     WHERE service = ?1 AND settled_at < ?2 ORDER BY settled_at LIMIT ?3)";
