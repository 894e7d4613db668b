//! Opening a file that does not exist, that belongs to another program, or that is not a database.

use std::{path::Path, time::Duration};

use super::{SqliteOptions, SqliteStore, open};
use crate::store::{Database, Store, StoreError};

async fn refusal(path: &Path) -> StoreError {
    let error = match SqliteStore::open(SqliteOptions::file(path)).await {
        Ok(store) => store.migrate().await.expect_err("opened"),
        Err(error) => error,
    };
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "the path is named: {text}");
    error
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "these are notes, and no database at all\n".repeat(50);
    std::fs::write(&path, &text).unwrap();
    let error = refusal(&path).await;
    assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
    assert!(error.to_string().contains("the file is no SQLite database; check the path"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_folder_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(folder.path()).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = SqliteStore::open(SqliteOptions::file(file.join("store.db"))).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("the folder cannot be made"), "{error}");
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(SqliteOptions::file(&path)).await;
    let mut tx = store.begin().await.unwrap();
    let Some(crate::store::SqlConnection::Sqlite(connection)) = tx.sql() else { panic!("no connection") };
    sqlx::query("INSERT INTO sagas_migrations VALUES ('sagas', 99, 'from the future', '')").execute(connection).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    let error = refusal(&path).await;
    assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
    assert!(error.to_string().contains("migration 99 of set `sagas` has run, and this program does not have it"), "{error}");
}

#[tokio::test]
async fn a_database_that_was_not_migrated_says_so() {
    let store = SqliteStore::open(SqliteOptions::private()).await.unwrap();
    for error in [store.check().await.unwrap_err(), store.outbox("orders", 0, 1).await.unwrap_err()] {
        assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
        assert!(error.to_string().contains("migrate the database first"), "{error}");
    }
}

#[tokio::test]
async fn the_name_of_our_own_migrations_is_taken() {
    let store = open(SqliteOptions::private()).await;
    let error = store.migrate_set("sagas", &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    use crate::store::Migration;
    const HALF: Migration =
        Migration { version: 1, name: "half", sql: "CREATE TABLE half (id INTEGER); INSERT INTO nowhere VALUES (1);" };
    let store = open(SqliteOptions::private()).await;
    let error = store.migrate_set("shop", &[HALF]).await.unwrap_err();
    assert!(error.to_string().contains("migration 1 (`half`) of set `shop` failed"), "{error}");
    let whole = Migration { sql: "CREATE TABLE half (id INTEGER);", ..HALF };
    store.migrate_set("shop", &[whole]).await.expect("the table is not there");
}

#[tokio::test]
async fn a_private_database_is_removed_with_its_store() {
    let store = open(SqliteOptions::private()).await;
    let folder = Path::new(&store.connector.name).parent().unwrap().to_owned();
    assert!(folder.is_dir());
    store.close().await;
    drop(store);
    assert!(!folder.exists());
}

#[tokio::test]
async fn many_can_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let options = SqliteOptions::file(&path).begin_timeout(super::PATIENCE);
        tasks.spawn(async move { open(options).await.check().await });
    }
    for result in tasks.join_all().await {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_new_file_that_another_connection_writes_is_waited_for() {
    use sqlx::{Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut theirs = SqliteConnection::connect_with(&options).await.unwrap();
    theirs.execute("BEGIN IMMEDIATE; CREATE TABLE places (id INTEGER)").await.unwrap();
    let hurried = SqliteStore::open(SqliteOptions::file(&path).begin_timeout(Duration::from_millis(50))).await;
    assert!(hurried.unwrap_err().to_string().contains("another program holds it"));
    let opening = tokio::spawn(open(SqliteOptions::file(&path).begin_timeout(super::PATIENCE)));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!opening.is_finished());
    theirs.execute("COMMIT").await.unwrap();
    opening.await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn a_url_opens_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new").join("store.db");
    let database = Database::open(&format!("sqlite://{}", path.display())).await.unwrap();
    database.store().migrate().await.unwrap();
    assert!(path.is_file());
}

#[tokio::test]
async fn the_file_of_another_program_is_refused_and_left_alone() {
    use sqlx::{Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("their.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut theirs = SqliteConnection::connect_with(&options).await.unwrap();
    theirs.execute("CREATE TABLE places (id INTEGER); PRAGMA application_id = 1234").await.unwrap();
    let error = refusal(&path).await;
    assert!(matches!(&error, StoreError::Incompatible(reason) if reason.contains("the file of another program")), "{error}");
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut theirs).await.unwrap();
    assert_eq!(tables, 1);
    // A file without an application id can be the service's own.
    theirs.execute("PRAGMA application_id = 0").await.unwrap();
    open(SqliteOptions::file(&path)).await.check().await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_told_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    open(SqliteOptions::file(&path)).await.close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    // The header remains, so the file is recognized as a database.
    bytes[4096..].fill(0x5a);
    std::fs::write(&path, &bytes).unwrap();
    let error = refusal(&path).await;
    assert!(matches!(&error, StoreError::Incompatible(reason) if reason.contains("restore it from a backup")), "{error}");
}

#[tokio::test]
async fn a_url_says_whether_the_file_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("100% my.db");
    let url = |mode: &str| format!("sqlite://{}/100%25%20my.db?mode={mode}", folder.path().display());
    let error = Database::open(&url("rw")).await.unwrap_err().to_string();
    assert!(error.contains("the file cannot be found") && !path.exists(), "{error}");
    let made = Database::open(&url("rwc")).await.unwrap();
    made.store().migrate().await.unwrap();
    made.store().close().await;
    assert!(path.is_file());
    let opened = Database::open(&url("rw")).await.unwrap();
    opened.store().check().await.unwrap();
    opened.store().close().await;
    let error = Database::open(&url("ro")).await.unwrap_err().to_string();
    assert!(error.contains("mode=ro"), "{error}");
    Database::read_only(&url("ro")).await.unwrap();
}
