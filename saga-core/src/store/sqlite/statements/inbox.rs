//! The inbox: which messages a service has handled.

use std::collections::HashSet;

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{Failed, portions, values};
use crate::{id::MessageId, store::InboxKey, time::Timestamp};

/// Claims `keys`. In most cases all of them are new, so an insert of all keys is tried first. If one is a duplicate, SQLite refuses the
/// whole statement without naming the key. The claimed keys are then read.
pub(in crate::store::sqlite) async fn claim(
    connection: &mut SqliteConnection,
    service: &str,
    keys: &[InboxKey],
    now: Timestamp,
) -> Result<Vec<bool>, Failed> {
    let mut known = HashSet::with_capacity(keys.len());
    let first: Vec<bool> = keys.iter().map(|key| known.insert(key)).collect();
    let distinct: Vec<&InboxKey> = keys.iter().zip(&first).filter_map(|(key, first)| first.then_some(key)).collect();
    let mut claimed = Vec::with_capacity(distinct.len());
    for portion in portions(&distinct) {
        match insert(connection, service, portion, now).await {
            Ok(()) => claimed.extend(std::iter::repeat_n(true, portion.len())),
            Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => {
                let new: Vec<bool> = seen(connection, service, portion).await?.into_iter().map(|seen| !seen).collect();
                let fresh: Vec<&InboxKey> = portion.iter().zip(&new).filter_map(|(key, new)| new.then_some(*key)).collect();
                for portion in portions(&fresh) {
                    insert(connection, service, portion, now).await?;
                }
                claimed.extend(new);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut claimed = claimed.into_iter();
    Ok(first.into_iter().map(|first| first && claimed.next().unwrap_or(false)).collect())
}

async fn insert(connection: &mut SqliteConnection, service: &str, keys: &[&InboxKey], now: Timestamp) -> sqlx::Result<()> {
    let sql = format!("INSERT INTO sagas_inbox (service, at, source, id) VALUES {}", values(keys.len(), 2, 2));
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service).bind(now.as_millis());
    for key in keys {
        query = query.bind(&key.source).bind(key.id.as_str());
    }
    query.execute(connection).await?;
    Ok(())
}

/// Removes the claims of `keys` that are older than `before`.
pub(in crate::store::sqlite) async fn forget(
    connection: &mut SqliteConnection,
    service: &str,
    keys: &[InboxKey],
    before: Timestamp,
) -> Result<(), Failed> {
    for portion in portions(keys) {
        let sql = format!(
            "WITH wanted (source, id) AS (VALUES {}) DELETE FROM sagas_inbox \
             WHERE service = ?{} AND at < ?{} AND (source, id) IN (SELECT source, id FROM wanted)",
            values(portion.len(), 0, 2),
            portion.len() * 2 + 1,
            portion.len() * 2 + 2
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for key in portion {
            query = query.bind(&key.source).bind(key.id.as_str());
        }
        query.bind(service).bind(before.as_millis()).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Returns which of `keys` are claimed.
pub(in crate::store::sqlite) async fn seen(
    connection: &mut SqliteConnection,
    service: &str,
    keys: &[&InboxKey],
) -> Result<Vec<bool>, Failed> {
    let mut present = HashSet::new();
    for portion in portions(keys) {
        let sql = format!(
            "WITH wanted (source, id) AS (VALUES {}) SELECT inbox.source, inbox.id FROM wanted CROSS JOIN sagas_inbox AS inbox \
             ON inbox.service = ?{} AND inbox.source = wanted.source AND inbox.id = wanted.id",
            values(portion.len(), 0, 2),
            portion.len() * 2 + 1
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for key in portion {
            query = query.bind(&key.source).bind(key.id.as_str());
        }
        for row in query.bind(service).fetch_all(&mut *connection).await? {
            present.insert(InboxKey { source: row.try_get(0)?, id: MessageId::new(row.try_get::<String, _>(1)?) });
        }
    }
    Ok(keys.iter().map(|key| present.contains(*key)).collect())
}

pub(in crate::store::sqlite) async fn prune(
    connection: &mut SqliteConnection,
    service: &str,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Failed> {
    let sql = "DELETE FROM sagas_inbox WHERE (service, source, id) IN \
               (SELECT service, source, id FROM sagas_inbox WHERE service = ?1 AND at < ?2 ORDER BY at LIMIT ?3)";
    let done = sqlx::query(sql).bind(service).bind(before.as_millis()).bind(limit).execute(connection).await?;
    Ok(done.rows_affected())
}
