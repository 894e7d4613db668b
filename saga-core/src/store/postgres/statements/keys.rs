//! Keys of instances: as arrays, and as what is locked, whether an instance has rows or not.

use std::{borrow::Cow, collections::BTreeSet};

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    super::text::{escaped, unescaped},
    Failed, gone, in_unit,
};
use crate::store::InstanceKey;

/// The number of the lock on the instance that the columns `saga` and `id` name, of the service `$1`. A lock is the whole
/// database's, and the same service may be in several schemas.
macro_rules! lock_number {
    () => {
        "hashtextextended(concat_ws(E'\\x01~', current_schema(), $1::text, saga, id), 0)"
    };
}
pub(super) use lock_number;

/// Keeps other transactions that lock them away from instances until this one ends. Locks are taken in one order, so that two that
/// want the same do not wait for each other. It is a statement of its own: one that follows sees what the former holders have
/// committed.
pub(super) async fn lock(connection: &mut PgConnection, service: &str, of: &[&InstanceKey]) -> Result<(), Failed> {
    let sql = concat!(
        "SELECT pg_advisory_xact_lock(number) FROM (SELECT DISTINCT ",
        lock_number!(),
        " AS number FROM unnest($2::text[], $3::text[]) AS wanted (saga, id) WHERE ",
        in_unit!(),
        " ORDER BY number) AS numbers"
    );
    let (sagas, ids) = columns(of);
    let locked = sqlx::query(sql).bind(service).bind(sagas).bind(ids).fetch_all(connection).await?;
    if locked.is_empty() { Err(gone()) } else { Ok(()) }
}

/// Each of `of` once.
pub(super) fn distinct(of: &[InstanceKey]) -> Vec<&InstanceKey> {
    of.iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// The sagas and the ids of instances, to be bound as arrays.
pub(super) fn columns<'k>(of: &[&'k InstanceKey]) -> (Vec<Cow<'k, str>>, Vec<Cow<'k, str>>) {
    of.iter().map(|key| (escaped(&key.saga), escaped(&key.id))).unzip()
}

/// Reads a key from its two columns that begin at `first`.
pub(super) fn read(row: &PgRow, first: usize) -> Result<InstanceKey, Failed> {
    Ok(InstanceKey { saga: unescaped(row.try_get(first)?), id: unescaped(row.try_get(first + 1)?) })
}
