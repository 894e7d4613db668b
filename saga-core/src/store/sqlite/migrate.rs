//! Migrations. Each runs once, in its own transaction, together with the record that it has run.

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{
    super::{
        Migrate, Migration, StoreError, StoreTx,
        migrations::{self, Applied, complete, fingerprint, how, nothing_pending, pending},
    },
    SqliteStore,
    statements::{Failed, execute},
};

/// The set of the framework's own tables.
const OURS: &str = "sagas";

/// The framework's own tables. Released migrations must not change; new ones are added.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "first tables", sql: include_str!("schema.sql") },
    Migration { version: 2, name: "partitions", sql: include_str!("partitions.sql") },
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
const TABLE: &str = "CREATE TABLE IF NOT EXISTS sagas_migrations (name_of_set TEXT NOT NULL, version INTEGER NOT NULL, \
                     name TEXT NOT NULL, script TEXT NOT NULL, PRIMARY KEY (name_of_set, version)) WITHOUT ROWID";

/// Returns SQL that creates the framework's tables: the migrations after `after`.
pub(super) fn script(after: u32) -> String {
    migrations::script(OURS, TABLE, MIGRATIONS, after, |text| format!("'{}'", text.replace('\'', "''")))
}

/// Runs the pending migrations of the framework.
pub(super) async fn ours(store: &SqliteStore) -> Result<(), StoreError> {
    run(store, OURS, MIGRATIONS).await
}

/// Runs the pending migrations of a service's own set.
pub(super) async fn theirs(store: &SqliteStore, set: &str, migrations: &[Migration]) -> Result<(), StoreError> {
    if set == OURS {
        return Err(StoreError::Refused(format!("`{OURS}` is the name of the framework's own migrations; choose another")));
    }
    run(store, set, migrations).await
}

/// Checks that the framework's own tables exist in the version of this program. Changes nothing.
pub(super) async fn complete_ours(store: &SqliteStore) -> Result<(), StoreError> {
    let applied = known(store, OURS).await?;
    complete(OURS, MIGRATIONS, &applied).map_err(|error| error.at(&store.connector.name))
}

async fn known(store: &SqliteStore, set: &str) -> Result<Vec<Applied>, StoreError> {
    let known = async |connection: &mut SqliteConnection| {
        let there = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sagas_migrations')";
        match sqlx::query_scalar(there).fetch_one(&mut *connection).await? {
            true => ran(connection, set).await,
            false => Ok(Vec::new()),
        }
    };
    store.read(known).await
}

async fn run(store: &SqliteStore, set: &str, migrations: &[Migration]) -> Result<(), StoreError> {
    if store.connector.migrate() == Migrate::Check {
        let applied = known(store, set).await?;
        let how = (set == OURS).then(|| how("URL", "--sqlite"));
        return nothing_pending(how.as_deref(), set, migrations, &applied).map_err(|error| error.at(&store.connector.name));
    }
    loop {
        let mut unit = store.unit().await?;
        let applied = unit.run(async |connection| applied(connection, set).await).await?;
        let Some(next) = pending(set, migrations, &applied).map_err(|error| error.at(&store.connector.name))?.first() else {
            return Box::new(unit).commit().await;
        };
        let done = unit.run(async |connection| apply(connection, set, next).await).await;
        done.map_err(|error| error.at(&format!("migration {} (`{}`) of set `{set}` failed", next.version, next.name)))?;
        Box::new(unit).commit().await?;
    }
}

async fn applied(connection: &mut SqliteConnection, set: &str) -> Result<Vec<Applied>, Failed> {
    execute(connection, TABLE).await?;
    ran(connection, set).await
}

async fn ran(connection: &mut SqliteConnection, set: &str) -> Result<Vec<Applied>, Failed> {
    let sql = "SELECT version, script FROM sagas_migrations WHERE name_of_set = ?1 ORDER BY version";
    let rows = sqlx::query(sql).bind(set).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn apply(connection: &mut SqliteConnection, set: &str, migration: &Migration) -> Result<(), Failed> {
    sqlx::raw_sql(AssertSqlSafe(migration.sql)).execute(&mut *connection).await?;
    let sql = "INSERT INTO sagas_migrations (name_of_set, version, name, script) VALUES (?1, ?2, ?3, ?4)";
    let query = sqlx::query(sql).bind(set).bind(migration.version).bind(migration.name);
    query.bind(fingerprint(migration.sql)).execute(connection).await?;
    Ok(())
}
