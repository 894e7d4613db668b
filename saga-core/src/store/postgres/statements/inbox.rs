//! The inbox: which messages a service has handled.

use std::{borrow::Cow, collections::HashSet};

use sqlx::{PgConnection, Row};

use super::{super::text::identity, Failed, in_unit};
use crate::{store::InboxKey, time::Timestamp};

/// Claims `keys`. If another transaction has claimed a key and not committed yet, this waits for it. Rows are written in the order of their
/// keys, so that two transactions that claim the same keys do not deadlock.
pub(in crate::store::postgres) async fn claim(
    connection: &mut PgConnection,
    service: &str,
    keys: &[InboxKey],
    now: Timestamp,
) -> Result<Vec<bool>, Failed> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let identities = identities(keys);
    let mut distinct = identities.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let (sources, ids): (Vec<&str>, Vec<&str>) = distinct.iter().map(|(source, id)| (&**source, &**id)).unzip();
    let sql = concat!(
        "INSERT INTO sagas_inbox (service, source, id, at) \
         SELECT $1, source, id, $2 FROM unnest($3::text[], $4::text[]) AS new (source, id) WHERE ",
        in_unit!(),
        " ON CONFLICT DO NOTHING RETURNING source, id"
    );
    let rows = sqlx::query(sql).bind(service).bind(now.as_millis()).bind(&sources).bind(&ids).fetch_all(connection).await?;
    if rows.len() == keys.len() {
        return Ok(vec![true; keys.len()]);
    }
    let mut new = HashSet::with_capacity(rows.len());
    for row in &rows {
        new.insert((row.try_get::<&str, _>(0)?, row.try_get::<&str, _>(1)?));
    }
    Ok(identities.iter().map(|(source, id)| new.remove(&(&**source, &**id))).collect())
}

/// Removes the claims of `keys` that are older than `before`.
pub(in crate::store::postgres) async fn forget(
    connection: &mut PgConnection,
    service: &str,
    keys: &[InboxKey],
    before: Timestamp,
) -> Result<(), Failed> {
    let mut identities = identities(keys);
    identities.sort_unstable();
    let (sources, ids): (Vec<&str>, Vec<&str>) = identities.iter().map(|(source, id)| (&**source, &**id)).unzip();
    let sql = concat!(
        "DELETE FROM sagas_inbox AS known USING unnest($3::text[], $4::text[]) AS wanted (source, id) \
         WHERE known.service = $1 AND known.source = wanted.source AND known.id = wanted.id AND known.at < $2 AND ",
        in_unit!()
    );
    sqlx::query(sql).bind(service).bind(before.as_millis()).bind(&sources).bind(&ids).execute(connection).await?;
    Ok(())
}

/// Returns which of `keys` are claimed.
pub(in crate::store::postgres) async fn seen(
    connection: &mut PgConnection,
    service: &str,
    keys: &[InboxKey],
) -> Result<Vec<bool>, Failed> {
    let identities = identities(keys);
    let (sources, ids): (Vec<&str>, Vec<&str>) = identities.iter().map(|(source, id)| (&**source, &**id)).unzip();
    let sql = "SELECT EXISTS (SELECT FROM sagas_inbox WHERE service = $1 AND source = wanted.source AND id = wanted.id) \
               FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS wanted (source, id, place) ORDER BY place";
    Ok(sqlx::query_scalar(sql).bind(service).bind(&sources).bind(&ids).fetch_all(connection).await?)
}

pub(in crate::store::postgres) async fn prune(
    connection: &mut PgConnection,
    service: &str,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Failed> {
    let sql = concat!(
        "DELETE FROM sagas_inbox WHERE ctid = ANY(ARRAY( \
         SELECT ctid FROM sagas_inbox WHERE service = $1 AND at < $2 ORDER BY at LIMIT $3 FOR UPDATE SKIP LOCKED)) AND ",
        in_unit!()
    );
    let done = sqlx::query(sql).bind(service).bind(before.as_millis()).bind(i64::from(limit)).execute(connection).await?;
    Ok(done.rows_affected())
}

fn identities(keys: &[InboxKey]) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    keys.iter().map(|key| (identity(&key.source), identity(key.id.as_str()))).collect()
}
