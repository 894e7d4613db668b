//! Dead letters: messages that were given up, as they came.

use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Failed,
    parked::unreadable,
    portions,
    received::{self, COLUMNS, columns},
    values,
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

pub(in crate::store::sqlite) async fn bury(
    connection: &mut SqliteConnection,
    service: &str,
    letters: &[DeadLetter],
) -> Result<(), Failed> {
    for portion in portions(letters) {
        let sql = format!(
            concat!(
                "INSERT OR REPLACE INTO sagas_dead_letters (service, id, event_type, error, attempts, at, state, unpublished, ",
                columns!(),
                ") VALUES {}"
            ),
            values(portion.len(), 1, 7 + COLUMNS)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service);
        for letter in portion {
            query = query
                .bind(letter.id.as_str())
                .bind(letter.event_type.as_deref())
                .bind(&letter.error)
                .bind(letter.attempts)
                .bind(letter.at.as_millis())
                .bind(code(letter.state))
                .bind(letter.unpublished.as_deref());
            query = received::bind(query, &letter.received);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

pub(in crate::store::sqlite) async fn settle(
    connection: &mut SqliteConnection,
    service: &str,
    id: &DeadLetterId,
    state: DeadLetterState,
) -> Result<bool, Failed> {
    let sql = "UPDATE sagas_dead_letters SET state = ?3 WHERE service = ?1 AND id = ?2 AND state = 'open'";
    let done = sqlx::query(sql).bind(service).bind(id.as_str()).bind(code(state)).execute(connection).await?;
    Ok(done.rows_affected() == 1)
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

pub(in crate::store::sqlite) async fn open(
    connection: &mut SqliteConnection,
    service: &str,
    offset: u64,
    limit: u32,
) -> Result<(Vec<DeadLetter>, u64), Failed> {
    let count = "SELECT count(*) FROM sagas_dead_letters WHERE service = ?1 AND state = 'open'";
    let total: i64 = sqlx::query_scalar(count).bind(service).fetch_one(&mut *connection).await?;
    let sql = select!("service = ?1 AND state = 'open' ORDER BY place DESC LIMIT ?2 OFFSET ?3");
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    let rows = sqlx::query(sql).bind(service).bind(limit).bind(offset).fetch_all(connection).await?;
    let letters: Result<Vec<_>, _> = rows.iter().map(read).collect();
    Ok((letters?, u64::try_from(total).map_err(|_| unreadable())?))
}

pub(in crate::store::sqlite) async fn one(
    connection: &mut SqliteConnection,
    service: &str,
    id: &DeadLetterId,
) -> Result<Option<DeadLetter>, Failed> {
    let sql = select!("service = ?1 AND id = ?2");
    let row = sqlx::query(sql).bind(service).bind(id.as_str()).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}
