//! The services that have rows in a database.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;

use super::Failed;
use crate::store::sql_services::OF_TABLES;

/// Returns all services, ordered by name.
pub(in crate::store::sqlite) async fn all(connection: &mut SqliteConnection) -> Result<Vec<String>, Failed> {
    let mut services = BTreeSet::new();
    for sql in OF_TABLES {
        services.extend(sqlx::query_scalar::<_, String>(sql).fetch_all(&mut *connection).await?);
    }
    Ok(services.into_iter().collect())
}
