//! Migrations. Each runs once, in its own transaction, together with the record that it has run. Of several processes that start at the
//! same time, one migrates under an advisory lock, and the others wait for it.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use sqlx_core::percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    super::{
        Migrate, Migration, StoreError, StoreTx,
        migrations::{self, Applied, complete, fingerprint, how, nothing_pending, pending},
    },
    PostgresStore, ask,
    connect::Connector,
    statements::{Failed, execute},
    text::quoted,
    unit::Unit,
};

/// The set of the framework's own tables.
const OURS: &str = "sagas";

/// The framework's own tables. Released migrations must not change; new ones are added.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "first tables", sql: include_str!("schema.sql") },
    Migration { version: 2, name: "shards of the outbox", sql: include_str!("shards.sql") },
    Migration { version: 3, name: "sagas", sql: include_str!("sagas.sql") },
    Migration { version: 4, name: "unpublished dead letters", sql: include_str!("unpublished.sql") },
    Migration { version: 5, name: "clocks and topics", sql: include_str!("clocks_and_topics.sql") },
    Migration { version: 6, name: "replays", sql: include_str!("replays.sql") },
    Migration { version: 7, name: "dead letters by message", sql: include_str!("letters.sql") },
    Migration { version: 8, name: "identities of logs", sql: include_str!("identities.sql") },
    Migration { version: 9, name: "first sight of parked messages", sql: include_str!("first_sight.sql") },
    Migration { version: 10, name: "events that change", sql: include_str!("changed_events.sql") },
];

/// The table that records which migrations have run.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS sagas_migrations (name_of_set TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, \
                     script TEXT NOT NULL, PRIMARY KEY (name_of_set, version))";

/// Returns SQL that creates the framework's tables in the first schema of `search_path`: the migrations after `after`.
pub(super) fn script(after: u32) -> String {
    migrations::script(OURS, TABLE, MIGRATIONS, after, |text| format!("$sagas${text}$sagas$"))
}

/// How to create the framework's tables in `schema` without the service.
pub(super) fn by_others(schema: &str) -> String {
    // The commands are for a shell.
    let plain = schema.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let word = if plain { schema.to_owned() } else { format!("'{}'", schema.replace('\'', "'\\''")) };
    let encoded = utf8_percent_encode(schema, IN_A_URL);
    how(&format!("'postgres://..?schema={encoded}'"), &format!("--postgres --schema {word}"))
}

/// The characters that are escaped in the value of a URL's parameter.
const IN_A_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');

/// Creates the schema if it does not exist. Without it, tables would be created in `public`.
pub(super) async fn schema(connector: &Arc<Connector>) -> Result<(), StoreError> {
    let schema = &connector.options.schema;
    let mut unit = Unit::begin(connector).await?;
    lock(&mut unit).await?;
    unit.run_long(async |connection| {
        let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";
        if !sqlx::query_scalar::<_, bool>(there).bind(schema).fetch_one(&mut *connection).await? {
            let sql = format!("CREATE SCHEMA {}", quoted(schema));
            connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        }
        Ok(())
    })
    .await?;
    Box::new(unit).commit().await
}

/// Runs the pending migrations of the framework.
pub(super) async fn ours(connector: &Arc<Connector>) -> Result<(), StoreError> {
    run(connector, OURS, MIGRATIONS).await
}

/// Runs the pending migrations of a service's own set.
pub(super) async fn theirs(connector: &Arc<Connector>, set: &str, migrations: &[Migration]) -> Result<(), StoreError> {
    if set == OURS {
        return Err(StoreError::Refused(format!("`{OURS}` is the name of the framework's own migrations; choose another")));
    }
    run(connector, set, migrations).await
}

/// Checks that the framework's own tables exist in the version of this program. Changes nothing.
pub(super) async fn complete_ours(store: &PostgresStore) -> Result<(), StoreError> {
    let schema = &store.connector.options.schema;
    let applied: Result<Vec<Applied>, _> = ask!(store, reading, connection => known(connection, schema));
    complete(OURS, MIGRATIONS, &applied?).map_err(|error| error.at(&store.connector.name))
}

async fn known(connection: &mut PgConnection, schema: &str) -> Result<Vec<Applied>, Failed> {
    known_of(connection, schema, OURS).await
}

async fn known_of(connection: &mut PgConnection, schema: &str, set: &str) -> Result<Vec<Applied>, Failed> {
    match is_there(connection, schema).await? {
        true => ran(connection, set).await,
        false => Ok(Vec::new()),
    }
}

/// Returns the schemas that have the framework's tables, ordered by name.
pub(super) async fn schemas(connection: &mut PgConnection) -> Result<Vec<String>, Failed> {
    let sql = "SELECT schemaname::text FROM pg_catalog.pg_tables WHERE tablename = 'sagas_migrations' ORDER BY 1";
    Ok(sqlx::query_scalar(sql).fetch_all(connection).await?)
}

async fn run(connector: &Arc<Connector>, set: &str, migrations: &[Migration]) -> Result<(), StoreError> {
    let schema = &connector.options.schema;
    if connector.options.migrate == Migrate::Check {
        let mut unit = Unit::look(connector).await?;
        let applied = unit.run(async |connection| known_of(connection, schema, set).await).await?;
        let how = (set == OURS).then(|| by_others(schema));
        return nothing_pending(how.as_deref(), set, migrations, &applied).map_err(|error| error.at(&connector.name));
    }
    loop {
        let mut unit = Unit::begin(connector).await?;
        lock(&mut unit).await?;
        let applied = unit.run(async |connection| applied(connection, schema, set).await).await?;
        let Some(next) = pending(set, migrations, &applied).map_err(|error| error.at(&connector.name))?.first() else {
            return Box::new(unit).commit().await;
        };
        let done = unit.run_long(async |connection| apply(connection, set, next).await).await;
        done.map_err(|error| {
            let help = if set == OURS { format!(" (where this user may not: {})", by_others(schema)) } else { String::new() };
            error.at(&format!("migration {} (`{}`) of set `{set}` failed{help}", next.version, next.name))
        })?;
        Box::new(unit).commit().await?;
    }
}

/// Waits without a time limit until no other process migrates. The lock is released at the end of the transaction.
async fn lock(unit: &mut Unit) -> Result<(), StoreError> {
    // Sent as a separate message, because `statement_timeout` applies as it was at the beginning of a message.
    const LIMITS: &str = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0";
    unit.run_long(async |connection| {
        execute(connection, LIMITS).await?;
        execute(connection, "SELECT pg_advisory_xact_lock(hashtextextended('sagas migrations', 0))").await
    })
    .await
}

async fn applied(connection: &mut PgConnection, schema: &str, set: &str) -> Result<Vec<Applied>, Failed> {
    if !is_there(connection, schema).await? {
        execute(connection, TABLE).await?;
        return Ok(Vec::new());
    }
    ran(connection, set).await
}

/// Whether this schema, and not another one of the path, has a table of migrations.
async fn is_there(connection: &mut PgConnection, schema: &str) -> Result<bool, Failed> {
    let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'sagas_migrations')";
    Ok(sqlx::query_scalar(there).bind(schema).fetch_one(connection).await?)
}

async fn ran(connection: &mut PgConnection, set: &str) -> Result<Vec<Applied>, Failed> {
    let sql = "SELECT version, script FROM sagas_migrations WHERE name_of_set = $1 ORDER BY version";
    let rows = sqlx::query(sql).bind(set).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((u32::try_from(row.try_get::<i32, _>(0)?).unwrap_or_default(), row.try_get(1)?))).collect()
}

async fn apply(connection: &mut PgConnection, set: &str, migration: &Migration) -> Result<(), Failed> {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(migration.sql))).await?;
    let sql = "INSERT INTO sagas_migrations (name_of_set, version, name, script) VALUES ($1, $2, $3, $4)";
    let version = i32::try_from(migration.version).map_err(|_| StoreError::Refused("its version is too large".into()))?;
    let query = sqlx::query(sql).bind(set).bind(version).bind(migration.name);
    query.bind(fingerprint(migration.sql)).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_name_the_schema() {
        for (schema, url, word) in
            [("shop", "schema=shop'", "--schema shop`"), ("it's & co", "schema=it%27s%20%26%20co'", r"--schema 'it'\''s & co'`")]
        {
            let how = by_others(schema);
            assert!(how.contains(&format!("migrations apply --database 'postgres://..?{url}`")), "{how}");
            assert!(how.contains(&format!("migrations print --postgres {word}")), "{how}");
        }
    }
}
