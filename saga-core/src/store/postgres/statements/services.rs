//! The services that have rows in a schema.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use super::Failed;
use crate::store::sql_services::OF_TABLES;

/// Returns all services, ordered by name.
pub(in crate::store::postgres) async fn all(connection: &mut PgConnection) -> Result<Vec<String>, Failed> {
    let mut services = BTreeSet::new();
    for sql in OF_TABLES {
        services.extend(sqlx::query_scalar::<_, String>(sql).fetch_all(&mut *connection).await?);
    }
    Ok(services.into_iter().collect())
}
