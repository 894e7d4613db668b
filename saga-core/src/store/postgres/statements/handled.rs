//! Which events services have handled.

use std::borrow::Cow;

use sqlx::{PgConnection, Row};

use super::{
    super::text::{escaped, unescaped},
    Failed, in_unit,
};

pub(in crate::store::postgres) async fn events(
    connection: &mut PgConnection,
    service: &str,
) -> Result<Vec<(String, String)>, Failed> {
    let sql = "SELECT topic, event FROM sagas_handled WHERE service = $1 ORDER BY topic, event";
    let rows = sqlx::query(sql).bind(service).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((unescaped(row.try_get(0)?), unescaped(row.try_get(1)?)))).collect()
}

pub(in crate::store::postgres) async fn note(
    connection: &mut PgConnection,
    service: &str,
    events: &[(String, String)],
    forget: &[(String, String)],
) -> Result<(), Failed> {
    let sql = concat!(
        "DELETE FROM sagas_handled WHERE service = $1 AND (topic, event) IN (SELECT * FROM unnest($2::text[], $3::text[])) AND ",
        in_unit!()
    );
    let (topics, names) = columns(forget);
    sqlx::query(sql).bind(service).bind(topics).bind(names).execute(&mut *connection).await?;
    // Processes that start at the same time write the same rows in the same order, so they do not deadlock.
    let sql = concat!(
        "INSERT INTO sagas_handled (service, topic, event) \
         SELECT $1, topic, event FROM unnest($2::text[], $3::text[]) AS new (topic, event) WHERE ",
        in_unit!(),
        " ORDER BY topic, event ON CONFLICT DO NOTHING"
    );
    let (topics, names) = columns(events);
    sqlx::query(sql).bind(service).bind(topics).bind(names).execute(connection).await?;
    Ok(())
}

/// The topics and the names of events, each as one array.
fn columns(events: &[(String, String)]) -> (Vec<Cow<'_, str>>, Vec<Cow<'_, str>>) {
    events.iter().map(|(topic, event)| (escaped(topic), escaped(event))).unzip()
}
