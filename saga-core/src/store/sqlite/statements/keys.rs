//! Queries for many instances by their keys, in one statement.

use std::collections::BTreeSet;

use super::{received::SqliteQuery, values};
use crate::store::InstanceKey;

/// `of` without duplicates, in order.
pub(super) fn distinct(of: &[InstanceKey]) -> Vec<&InstanceKey> {
    of.iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Selects `columns` of the rows of `table` that belong to one of `count` keys. [`bind`] binds the keys and then the service.
pub(super) fn select(columns: &str, table: &str, count: usize, order: &str) -> String {
    format!(
        "WITH wanted (wanted_saga, wanted_id) AS (VALUES {}) SELECT {columns} FROM wanted CROSS JOIN {table} \
         ON service = ?{} AND saga = wanted_saga AND id = wanted_id ORDER BY {order}",
        values(count, 0, 2),
        count * 2 + 1
    )
}

pub(super) fn bind<'q>(query: SqliteQuery<'q>, of: &[&'q InstanceKey]) -> SqliteQuery<'q> {
    of.iter().fold(query, |query, key| query.bind(&key.saga).bind(&key.id))
}
