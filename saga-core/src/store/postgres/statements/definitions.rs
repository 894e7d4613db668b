//! Saga definitions, stored for programs that read the database.

use sqlx::{PgConnection, Row};

use super::{
    super::text::{escaped, unescaped},
    Failed, gone, in_unit, unreadable,
};
use crate::store::StoredDefinition;

pub(in crate::store::postgres) async fn all(
    connection: &mut PgConnection,
    service: &str,
) -> Result<Vec<StoredDefinition>, Failed> {
    let sql = "SELECT saga, version, body FROM sagas_definitions WHERE service = $1 ORDER BY saga, version";
    let rows = sqlx::query(sql).bind(service).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(StoredDefinition {
                saga: unescaped(row.try_get(0)?),
                version: u32::try_from(row.try_get::<i64, _>(1)?).map_err(|_| unreadable())?,
                body: unescaped(row.try_get(2)?),
            })
        })
        .collect()
}

pub(in crate::store::postgres) async fn keep(
    connection: &mut PgConnection,
    service: &str,
    definition: &StoredDefinition,
) -> Result<(), Failed> {
    let sql = concat!(
        "INSERT INTO sagas_definitions (service, saga, version, body) SELECT $1, $2, $3, $4 WHERE ",
        in_unit!(),
        " ON CONFLICT (service, saga_digest, version) DO UPDATE SET body = EXCLUDED.body"
    );
    let query = sqlx::query(sql).bind(service).bind(escaped(&definition.saga)).bind(i64::from(definition.version));
    let done = query.bind(escaped(&definition.body)).execute(connection).await?;
    if done.rows_affected() == 0 { Err(gone()) } else { Ok(()) }
}
