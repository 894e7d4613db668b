//! Instances that are asked for by their keys, many in one statement.

use std::collections::BTreeSet;

use super::{received::SqliteQuery, values};
use crate::store::InstanceKey;

/// `of`, each once and in order.
pub(super) fn distinct(of: &[InstanceKey]) -> Vec<&InstanceKey> {
    of.iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// The `columns` of those rows of `table` that belong to one of `count` keys, which [`bind`] binds, and the service behind them.
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
