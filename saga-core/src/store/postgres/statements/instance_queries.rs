//! Queries on the instances of the sagas that a service tracks.
//!
//! A condition for which an index exists is written into the text of the query, because the planner does not see the value of a parameter.

use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::{
    super::text::{escaped, unescaped},
    Failed, counted,
    instances::{self, columns},
    keys, unreadable,
};
use crate::{
    store::{InstanceKey, InstanceOrder, InstanceQuery, InstanceRecord, OpenVersion},
    time::Timestamp,
};

/// `$1` is the service, `$2` the time, `$3` the limit.
pub(in crate::store::postgres) const DUE: &str =
    "SELECT saga, id FROM sagas_instances WHERE service = $1 AND due <= $2 ORDER BY due, saga, id LIMIT $3";

/// `$1` is the service.
pub(in crate::store::postgres) const NEXT_DUE: &str =
    "SELECT min(due) FROM sagas_instances WHERE service = $1 AND due IS NOT NULL";

/// `$1` is the service.
pub(in crate::store::postgres) const OPEN_VERSIONS: &str = "SELECT saga, version, count(*) FROM sagas_instances WHERE service = $1 AND ended_at IS NULL \
     GROUP BY saga, version ORDER BY saga, version";

/// `$1` is the service.
pub(in crate::store::postgres) const ATTENTION: &str =
    "SELECT saga, count(*) FROM sagas_instances WHERE service = $1 AND attention IS NOT NULL GROUP BY saga ORDER BY saga";

/// The query that selects `columns` of the instances that match `query`, without an order.
pub(in crate::store::postgres) fn wanted(columns: &str, service: &str, query: &InstanceQuery) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(columns).push(" FROM sagas_instances AS known WHERE service = ").push_bind(service.to_owned());
    if let Some(saga) = &query.saga {
        sql.push(" AND saga = ").push_bind(escaped(saga).into_owned());
    }
    if let Some(state) = query.state {
        sql.push(" AND state = ").push_bind(state.as_str());
    }
    if query.open {
        sql.push(" AND ended_at IS NULL");
    }
    if query.attention {
        sql.push(" AND attention IS NOT NULL");
    }
    if let Some(since) = query.idle_since {
        sql.push(" AND updated_at < ").push_bind(since.as_millis());
    }
    sql
}

/// The query for one page of the instances that match `query`.
pub(in crate::store::postgres) fn ordered(service: &str, query: &InstanceQuery) -> QueryBuilder<Postgres> {
    let mut sql = wanted(columns!(), service, query);
    sql.push(match query.order {
        InstanceOrder::Newest => " ORDER BY started_at DESC, saga, id LIMIT ",
        InstanceOrder::Stalest => " ORDER BY updated_at, saga, id LIMIT ",
    });
    sql.push_bind(i64::from(query.limit));
    sql.push(" OFFSET ").push_bind(i64::try_from(query.offset).unwrap_or(i64::MAX));
    sql
}

pub(in crate::store::postgres) async fn page(
    connection: &mut PgConnection,
    service: &str,
    query: &InstanceQuery,
) -> Result<(Vec<InstanceRecord>, u64), Failed> {
    // There are many different texts, and the best plan depends on the parameters, so these statements are not cached.
    let mut count = wanted("count(*)", service, query);
    let total: i64 = count.build_query_scalar().persistent(false).fetch_one(&mut *connection).await?;
    let rows = ordered(service, query).build().persistent(false).fetch_all(connection).await?;
    let page: Result<Vec<_>, _> = rows.iter().map(instances::read).collect();
    Ok((page?, counted(total)?))
}

pub(in crate::store::postgres) async fn due(
    connection: &mut PgConnection,
    service: &str,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<InstanceKey>, Failed> {
    let query = sqlx::query(DUE).bind(service).bind(now.as_millis()).bind(i64::from(limit));
    query.fetch_all(connection).await?.iter().map(|row| keys::read(row, 0)).collect()
}

pub(in crate::store::postgres) async fn updated_after(
    connection: &mut PgConnection,
    service: &str,
    after: Timestamp,
    limit: u32,
) -> Result<Vec<InstanceKey>, Failed> {
    let sql = "SELECT saga, id FROM sagas_instances WHERE service = $1 AND ended_at IS NULL AND updated_at > $2 \
               ORDER BY updated_at LIMIT $3";
    let query = sqlx::query(sql).bind(service).bind(after.as_millis()).bind(i64::from(limit));
    query.fetch_all(connection).await?.iter().map(|row| keys::read(row, 0)).collect()
}

pub(in crate::store::postgres) async fn next_due(
    connection: &mut PgConnection,
    service: &str,
) -> Result<Option<Timestamp>, Failed> {
    let due: Option<i64> = sqlx::query_scalar(NEXT_DUE).bind(service).fetch_one(connection).await?;
    Ok(due.map(Timestamp::from_millis))
}

pub(in crate::store::postgres) async fn open_versions(
    connection: &mut PgConnection,
    service: &str,
) -> Result<Vec<OpenVersion>, Failed> {
    let rows = sqlx::query(OPEN_VERSIONS).bind(service).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(OpenVersion {
                saga: unescaped(row.try_get(0)?),
                version: u32::try_from(row.try_get::<i64, _>(1)?).map_err(|_| unreadable())?,
                instances: counted(row.try_get(2)?)?,
            })
        })
        .collect()
}

pub(in crate::store::postgres) async fn attention(
    connection: &mut PgConnection,
    service: &str,
) -> Result<Vec<(String, u64)>, Failed> {
    let rows = sqlx::query(ATTENTION).bind(service).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((unescaped(row.try_get(0)?), counted(row.try_get(1)?)?))).collect()
}
