//! Instances of the sagas that a service tracks.
//!
//! Without statistics, SQLite uses a partial index only if it saves a sort, and otherwise scans all instances. Queries that match few
//! instances therefore name their index.

use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};

use super::{Failed, counted, keys, portions, unreadable, values};
use crate::{
    store::{InstanceKey, InstanceOrder, InstanceQuery, InstanceRecord, InstanceState, OpenVersion},
    time::Timestamp,
};

/// The columns, in the order in which [`save`] binds and [`read`] reads them.
macro_rules! columns {
    () => {
        "saga, id, version, state, attention, due, started_at, updated_at, ended_at, body"
    };
}

/// The keys of the instances that are removed.
macro_rules! forgotten {
    () => {
        "(SELECT service, saga, id FROM sagas_instances WHERE service = ?1 AND ended_at < ?2 \
          ORDER BY ended_at, saga, id LIMIT ?3)"
    };
}

pub(in crate::store::sqlite) async fn save(
    connection: &mut SqliteConnection,
    service: &str,
    instances: &[InstanceRecord],
) -> Result<(), Failed> {
    for portion in portions(instances) {
        let sql = format!(
            concat!(
                "INSERT INTO sagas_instances (service, ",
                columns!(),
                ") VALUES {} ON CONFLICT DO UPDATE SET version = excluded.version, state = excluded.state, \
                 attention = excluded.attention, due = excluded.due, started_at = excluded.started_at, \
                 updated_at = excluded.updated_at, ended_at = excluded.ended_at, body = excluded.body"
            ),
            values(portion.len(), 1, 10)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(service);
        for record in portion {
            query = query
                .bind(&record.instance.saga)
                .bind(&record.instance.id)
                .bind(record.version)
                .bind(record.state.as_str())
                .bind(record.attention.as_deref())
                .bind(record.due.map(Timestamp::as_millis))
                .bind(record.started_at.as_millis())
                .bind(record.updated_at.as_millis())
                .bind(record.ended_at.map(Timestamp::as_millis))
                .bind(&record.body);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Returns the instances of `of` that exist, ordered by key.
pub(in crate::store::sqlite) async fn load(
    connection: &mut SqliteConnection,
    service: &str,
    of: &[InstanceKey],
) -> Result<Vec<InstanceRecord>, Failed> {
    let mut instances = Vec::with_capacity(of.len());
    for portion in portions(&keys::distinct(of)) {
        let sql = keys::select(columns!(), "sagas_instances", portion.len(), "saga, id");
        for row in keys::bind(sqlx::query(AssertSqlSafe(sql)), portion).bind(service).fetch_all(&mut *connection).await? {
            instances.push(read(&row)?);
        }
    }
    Ok(instances)
}

fn read(row: &SqliteRow) -> Result<InstanceRecord, Failed> {
    let time = |index| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(index)?.map(Timestamp::from_millis));
    Ok(InstanceRecord {
        instance: InstanceKey { saga: row.try_get(0)?, id: row.try_get(1)? },
        version: row.try_get(2)?,
        state: InstanceState::of(row.try_get(3)?).ok_or_else(unreadable)?,
        attention: row.try_get(4)?,
        due: time(5)?,
        started_at: Timestamp::from_millis(row.try_get(6)?),
        updated_at: Timestamp::from_millis(row.try_get(7)?),
        ended_at: time(8)?,
        body: row.try_get(9)?,
    })
}

/// Returns one page, and the total number of matches.
pub(in crate::store::sqlite) async fn page(
    connection: &mut SqliteConnection,
    service: &str,
    query: &InstanceQuery,
) -> Result<(Vec<InstanceRecord>, u64), Failed> {
    let total = wanted("count(*)", service, query).build_query_scalar::<i64>().fetch_one(&mut *connection).await?;
    let rows = listed(service, query).build().fetch_all(connection).await?;
    let instances: Result<Vec<_>, _> = rows.iter().map(read).collect();
    Ok((instances?, counted(total)?))
}

/// The statement that reads a page.
pub(in crate::store::sqlite) fn listed(service: &str, query: &InstanceQuery) -> QueryBuilder<Sqlite> {
    let mut sql = wanted(columns!(), service, query);
    sql.push(match query.order {
        InstanceOrder::Newest => " ORDER BY started_at DESC, saga, id LIMIT ",
        InstanceOrder::Stalest => " ORDER BY updated_at, saga, id LIMIT ",
    });
    sql.push_bind(query.limit).push(" OFFSET ").push_bind(i64::try_from(query.offset).unwrap_or(i64::MAX));
    sql
}

/// A statement that selects `what` of the instances that match `query`.
fn wanted(what: &str, service: &str, query: &InstanceQuery) -> QueryBuilder<Sqlite> {
    let (index, condition) = match (query.attention, query.open) {
        (true, true) => ("attention", " AND attention IS NOT NULL AND ended_at IS NULL"),
        (true, false) => ("attention", " AND attention IS NOT NULL"),
        (false, true) => ("open", " AND ended_at IS NULL"),
        (false, false) => ("newest", ""),
    };
    let mut sql =
        QueryBuilder::new(format!("SELECT {what} FROM sagas_instances INDEXED BY sagas_instances_{index} WHERE service = "));
    sql.push_bind(service.to_owned()).push(condition);
    if let Some(saga) = &query.saga {
        sql.push(" AND saga = ").push_bind(saga.clone());
    }
    if let Some(state) = query.state {
        sql.push(" AND state = ").push_bind(state.as_str());
    }
    if let Some(since) = query.idle_since {
        sql.push(" AND updated_at < ").push_bind(since.as_millis());
    }
    sql
}

pub(in crate::store::sqlite) async fn due(
    connection: &mut SqliteConnection,
    service: &str,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<InstanceKey>, Failed> {
    let rows = sqlx::query(DUE).bind(service).bind(now.as_millis()).bind(limit).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(InstanceKey { saga: row.try_get(0)?, id: row.try_get(1)? })).collect()
}

pub(in crate::store::sqlite) const DUE: &str =
    "SELECT saga, id FROM sagas_instances WHERE service = ?1 AND due <= ?2 ORDER BY due, saga, id LIMIT ?3";

pub(in crate::store::sqlite) async fn updated_after(
    connection: &mut SqliteConnection,
    service: &str,
    after: Timestamp,
    limit: u32,
) -> Result<Vec<InstanceKey>, Failed> {
    let rows = sqlx::query(UPDATED_AFTER).bind(service).bind(after.as_millis()).bind(limit).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(InstanceKey { saga: row.try_get(0)?, id: row.try_get(1)? })).collect()
}

pub(in crate::store::sqlite) const UPDATED_AFTER: &str = "SELECT saga, id FROM sagas_instances \
     WHERE service = ?1 AND ended_at IS NULL AND updated_at > ?2 ORDER BY updated_at, saga, id LIMIT ?3";

pub(in crate::store::sqlite) async fn next_due(
    connection: &mut SqliteConnection,
    service: &str,
) -> Result<Option<Timestamp>, Failed> {
    let due: Option<i64> = sqlx::query_scalar(NEXT_DUE).bind(service).fetch_one(connection).await?;
    Ok(due.map(Timestamp::from_millis))
}

pub(in crate::store::sqlite) const NEXT_DUE: &str = "SELECT min(due) FROM sagas_instances WHERE service = ?1 AND due IS NOT NULL";

pub(in crate::store::sqlite) async fn open_versions(
    connection: &mut SqliteConnection,
    service: &str,
) -> Result<Vec<OpenVersion>, Failed> {
    let rows = sqlx::query(OPEN_VERSIONS).bind(service).fetch_all(connection).await?;
    rows.iter()
        .map(|row| Ok(OpenVersion { saga: row.try_get(0)?, version: row.try_get(1)?, instances: counted(row.try_get(2)?)? }))
        .collect()
}

pub(in crate::store::sqlite) const OPEN_VERSIONS: &str = "SELECT saga, version, count(*) \
     FROM sagas_instances INDEXED BY sagas_instances_open \
     WHERE service = ?1 AND ended_at IS NULL GROUP BY saga, version ORDER BY saga, version";

pub(in crate::store::sqlite) async fn attention(
    connection: &mut SqliteConnection,
    service: &str,
) -> Result<Vec<(String, u64)>, Failed> {
    let rows = sqlx::query(ATTENTION).bind(service).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, counted(row.try_get(1)?)?))).collect()
}

pub(in crate::store::sqlite) const ATTENTION: &str = "SELECT saga, count(*) \
     FROM sagas_instances INDEXED BY sagas_instances_attention \
     WHERE service = ?1 AND attention IS NOT NULL GROUP BY saga ORDER BY saga";

/// Removes at most `limit` instances that ended before `before`, with their history.
pub(in crate::store::sqlite) async fn prune(
    connection: &mut SqliteConnection,
    service: &str,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Failed> {
    let mut forgotten = 0;
    for sql in PRUNE {
        let done = sqlx::query(sql).bind(service).bind(before.as_millis()).bind(limit).execute(&mut *connection).await?;
        forgotten = done.rows_affected();
    }
    Ok(forgotten)
}

/// The history is deleted first: both statements select the same instances only while these exist.
pub(in crate::store::sqlite) const PRUNE: [&str; 2] = [
    concat!("DELETE FROM sagas_history WHERE (service, saga, id) IN ", forgotten!()),
    concat!("DELETE FROM sagas_instances WHERE (service, saga, id) IN ", forgotten!()),
];
