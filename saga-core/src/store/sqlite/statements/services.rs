//! The services that have rows in a database.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;

use super::Failed;

/// The services of a table, with one index lookup for each.
macro_rules! of {
    ($table:literal) => {
        concat!(
            "WITH RECURSIVE found (service) AS (SELECT min(service) FROM ",
            $table,
            " UNION ALL SELECT (SELECT min(service) FROM ",
            $table,
            " WHERE service > found.service) FROM found WHERE service IS NOT NULL) SELECT service FROM found WHERE service IS NOT NULL"
        )
    };
}

const TABLES: [&str; 5] =
    [of!("sagas_instances"), of!("sagas_steps"), of!("sagas_definitions"), of!("sagas_dead_letters"), of!("sagas_partitions")];

/// Returns all services, ordered by name.
pub(in crate::store::sqlite) async fn all(connection: &mut SqliteConnection) -> Result<Vec<String>, Failed> {
    let mut services = BTreeSet::new();
    for sql in TABLES {
        services.extend(sqlx::query_scalar::<_, String>(sql).fetch_all(&mut *connection).await?);
    }
    Ok(services.into_iter().collect())
}
