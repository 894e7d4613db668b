//! The framework's tables, created by another tool than a service, and services that create none.

use sagas::{App, Database, prelude::*, transport::memory::Memory};
use sagas_tests::{
    process::Program,
    schema::{Schema, server},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::program::{PATIENCE, is_refused, sagas};

/// Returns what the command prints.
async fn printed(args: &[&str]) -> String {
    let ended = Program::run(&mut sagas([&["migrations", "print"], args].concat()), PATIENCE).await;
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{ended:#?}");
    ended.stdout.join("\n")
}

/// Runs the command on the database at `url`, and returns its exit code and output.
async fn on(url: &str, what: &str) -> (Option<i32>, String) {
    let ended = Program::run(sagas(["migrations", what]).env("SAGAS_DATABASE", url), PATIENCE).await;
    (ended.status.code(), format!("{}{}", ended.stdout.join("\n"), ended.stderr))
}

/// Starts a service on the database at `url`, or returns why it cannot start.
async fn starts(url: &str) -> Result<(), String> {
    let database = Database::open(url).await.map_err(|error| error.to_string())?;
    let app = App::new("shop").service(Service::new("shop", database));
    let handle = app.start(std::sync::Arc::new(Memory::new())).await.map_err(|error| error.to_string())?;
    assert!(handle.stop().await);
    Ok(())
}

#[tokio::test]
async fn a_tool_makes_the_tables_of_sqlite_and_a_service_only_compares_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let (url, checked) = (format!("sqlite:{}", file.display()), format!("sqlite:{}?migrate=check", file.display()));
    assert!(starts(&checked).await.is_err());
    assert!(!file.exists(), "nothing is made");

    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    connection.execute("CREATE TABLE orders (id TEXT)").await.unwrap();
    let error = starts(&checked).await.unwrap_err();
    for part in [
        "migrations 1 (`first tables`), 2 (`partitions`), 3 (`sagas`)",
        "has not run",
        "sagas migrations apply --database URL",
        "sagas migrations print --sqlite",
    ] {
        assert!(error.contains(part), "{part:?} is missing: {error}");
    }
    let (code, said) = on(&url, "check").await;
    assert!(code == Some(1) && said.contains("none of the framework's tables"), "{said}");

    let mut tx = connection.begin().await.unwrap();
    tx.execute(sqlx::raw_sql(AssertSqlSafe(printed(&["--sqlite"]).await))).await.unwrap();
    tx.commit().await.unwrap();
    starts(&checked).await.unwrap();
    assert_eq!(on(&url, "check").await.0, Some(0));

    // The state after an update of the program.
    connection.execute("DELETE FROM sagas_migrations WHERE version = 10").await.unwrap();
    let error = starts(&checked).await.unwrap_err();
    assert!(error.contains("migration 10 (`events that change`) of set `sagas` has not run"), "{error}");
    let later = printed(&["--sqlite", "--after", "9"]).await;
    assert!(
        later.contains("Migration 10:") && !later.contains("Migration 9:") && !later.contains("CREATE TABLE IF NOT"),
        "{later}"
    );
}

#[tokio::test]
async fn the_program_makes_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let url = format!("sqlite:{}?migrate=check", file.display());
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file).create_if_missing(true)).await.unwrap();
    let (code, said) = on(&url, "apply").await;
    assert!(code == Some(0) && said.contains("the tables are those of sagas"), "{said}");
    assert_eq!(on(&url, "apply").await.0, Some(0), "once more");
    starts(&url).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_on_the_command_line_is_named() {
    is_refused(sagas(["migrations", "apply"]), 2, &["no database is named", "--database URL"]).await;
    is_refused(sagas(["migrations", "print"]), 2, &["--postgres", "--sqlite"]).await;
    is_refused(sagas(["migrations", "print", "--sqlite", "--schema", "shop"]), 2, &["--schema", "--sqlite"]).await;
}

/// Revokes the owner's right to create tables.
async fn without_create(connection: &mut PgConnection, schema: &str) {
    let revoked = format!("CREATE SCHEMA IF NOT EXISTS {schema}; REVOKE CREATE ON SCHEMA {schema} FROM CURRENT_USER");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(revoked))).await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_user_who_may_make_no_tables_starts_where_they_are() {
    let (schema, empty, applied) = (Schema::new(), Schema::new(), Schema::new());
    let checked = |schema: &Schema| format!("{}&migrate=check", schema.url());
    let mut connection = PgConnection::connect(&server()).await.unwrap();

    // A schema that does not exist, and one that is empty.
    let error = starts(&checked(&empty)).await.unwrap_err();
    let apply = format!("sagas migrations apply --database 'postgres://..?schema={}'", empty.name());
    let print = format!("sagas migrations print --postgres --schema {}", empty.name());
    for part in ["the schema is missing, and is not made here", &apply, &print] {
        assert!(error.contains(part), "{part:?} is missing: {error}");
    }
    without_create(&mut connection, empty.name()).await;
    let error = starts(&checked(&empty)).await.unwrap_err();
    for part in ["1 (`first tables`)", "9 (`first sight of parked messages`)", "of set `sagas` has not run", &apply, &print] {
        assert!(error.contains(part), "{part:?} is missing: {error}");
    }
    let error = starts(&empty.url()).await.unwrap_err();
    assert!(error.contains("the user may not make tables in the schema") && error.contains(&print), "{error}");

    // Migrated by a tool, in its own transaction.
    let script = printed(&["--postgres", "--schema", schema.name()]).await;
    let mut tx = connection.begin().await.unwrap();
    tx.execute(sqlx::raw_sql(AssertSqlSafe(script))).await.unwrap();
    tx.commit().await.unwrap();
    without_create(&mut connection, schema.name()).await;
    starts(&checked(&schema)).await.unwrap();
    starts(&schema.url()).await.unwrap();
    let (code, said) = on(&schema.url(), "check").await;
    assert!(code == Some(0) && said.contains(schema.name()), "{said}");

    // Migrated by the program.
    assert_eq!(on(&applied.url(), "apply").await.0, Some(0));
    without_create(&mut connection, applied.name()).await;
    starts(&checked(&applied)).await.unwrap();

    // The state after an update of the program.
    let older = format!("DELETE FROM {}.sagas_migrations WHERE version > 7", applied.name());
    connection.execute(sqlx::raw_sql(AssertSqlSafe(older))).await.unwrap();
    let error = starts(&checked(&applied)).await.unwrap_err();
    assert!(error.contains("each of the migrations 8 (`identities of logs`), 9 (`first sight"), "{error}");
}

/// The path of a session, as its own statements find it.
async fn path(connection: &mut PgConnection) -> String {
    sqlx::query_scalar("SELECT current_setting('search_path')").fetch_one(connection).await.unwrap()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_tool_finds_its_own_path_after_the_printed_script() {
    let (schema, own) = (Schema::new(), Schema::new());
    let script = printed(&["--postgres", "--schema", schema.name()]).await;
    let run =
        async |connection: &mut PgConnection, sql: String| connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    let tool = || async { PgConnection::connect(&server()).await.unwrap() };
    let mut connection = tool().await;
    let role = path(&mut connection).await;
    run(&mut connection, format!("CREATE SCHEMA {0}; CREATE TABLE {0}.history (version INT)", own.name())).await;

    // As sqlx does it, with a path that `after_connect` has set.
    run(&mut connection, format!("SET search_path TO {}", own.name())).await;
    let mut tx = connection.begin().await.unwrap();
    run(&mut tx, script.clone()).await;
    run(&mut tx, "INSERT INTO history (version) VALUES (1)".to_owned()).await;
    tx.commit().await.unwrap();
    assert_eq!(path(&mut connection).await, own.name());
    starts(&format!("{}&migrate=check", schema.url())).await.unwrap();

    let again = async || run(&mut tool().await, format!("DROP SCHEMA {} CASCADE", schema.name())).await;
    // With a path that the tool has set for its transaction.
    again().await;
    let mut connection = tool().await;
    let mut tx = connection.begin().await.unwrap();
    run(&mut tx, format!("SET LOCAL search_path TO {}", own.name())).await;
    run(&mut tx, script.clone()).await;
    run(&mut tx, "INSERT INTO history (version) VALUES (2)".to_owned()).await;
    tx.commit().await.unwrap();
    assert_eq!(path(&mut connection).await, role, "the session's own");
    starts(&format!("{}&migrate=check", schema.url())).await.unwrap();

    // Against the advice, each statement as a transaction of its own: what precedes the tables, the tables, and what follows them.
    again().await;
    let mut connection = tool().await;
    run(&mut connection, format!("SET search_path TO {}", own.name())).await;
    let (before, rest) = script.split_once("\n\n").unwrap();
    let (tables, after) = rest.trim_end().rsplit_once('\n').unwrap();
    for statement in before.lines() {
        run(&mut connection, statement.to_owned()).await;
    }
    run(&mut connection, tables.to_owned()).await;
    run(&mut connection, after.to_owned()).await;
    assert_eq!(path(&mut connection).await, own.name());
    starts(&format!("{}&migrate=check", schema.url())).await.unwrap();
    let versions: Vec<i32> =
        sqlx::query_scalar("SELECT version FROM history ORDER BY version").fetch_all(&mut connection).await.unwrap();
    assert_eq!(versions, [1, 2]);
}
