//! Keys of instances, as arrays and as advisory locks. An instance can be locked before it has rows.

use std::{borrow::Cow, collections::BTreeSet};

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    super::text::{escaped, unescaped},
    Failed, gone, in_unit,
    tables::Tables,
};
use crate::store::InstanceKey;

/// The number of the advisory lock on the instance in the columns `saga` and `id`, for the service `$1`. An advisory lock belongs to the
/// whole database, and several schemas can contain the same service, so the number depends on the schema.
macro_rules! lock_number {
    () => {
        "hashtextextended(concat_ws(E'\\x01~', current_schema(), $1::text, saga, id), 0)"
    };
}
pub(super) use lock_number;

/// Locks instances until this transaction ends. Locks are acquired in one order, so that two transactions that lock the same instances do
/// not deadlock. This is a separate statement, so that the next statement sees what the previous holders of the locks have committed.
pub(super) async fn lock(
    connection: &mut PgConnection,
    tables: Tables<'_>,
    service: &str,
    of: &[&InstanceKey],
) -> Result<(), Failed> {
    let sql = concat!(
        "SELECT pg_advisory_xact_lock(number) FROM (SELECT DISTINCT ",
        lock_number!(),
        " AS number FROM unnest($2::text[], $3::text[]) AS wanted (saga, id) WHERE ",
        in_unit!(),
        " ORDER BY number) AS numbers"
    );
    let (sagas, ids) = columns(of);
    let locked = sqlx::query(tables.of(sql)).bind(service).bind(sagas).bind(ids).fetch_all(connection).await?;
    if locked.is_empty() { Err(gone()) } else { Ok(()) }
}

/// `of` without duplicates, in order.
pub(super) fn distinct(of: &[InstanceKey]) -> Vec<&InstanceKey> {
    of.iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// The sagas and the ids of instances, to bind as arrays.
pub(super) fn columns<'k>(of: &[&'k InstanceKey]) -> (Vec<Cow<'k, str>>, Vec<Cow<'k, str>>) {
    of.iter().map(|key| (escaped(&key.saga), escaped(&key.id))).unzip()
}

/// Reads a key from the two columns that begin at index `first`.
pub(super) fn read(row: &PgRow, first: usize) -> Result<InstanceKey, Failed> {
    Ok(InstanceKey { saga: unescaped(row.try_get(first)?), id: unescaped(row.try_get(first + 1)?) })
}
