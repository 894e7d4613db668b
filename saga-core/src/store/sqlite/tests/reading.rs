//! Opening for reading only: at rest, while a writer runs, after a writer was killed, and errors.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{SqliteOptions, SqliteStore, note, open, patient};
use crate::store::{Database, SqlConnection, Store, StoreError, StoredDefinition};

async fn read_only(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open_read_only(SqliteOptions::file(path)).await
}

fn saga(version: u32) -> StoredDefinition {
    StoredDefinition { saga: "place-order".into(), version, body: "{}".into() }
}

async fn versions(store: &SqliteStore) -> Result<Vec<u32>, StoreError> {
    Ok(store.sagas().definitions("orders").await?.into_iter().map(|saga| saga.version).collect())
}

/// A database with one saga definition, which its writer has closed.
async fn at_rest(folder: &Path) -> PathBuf {
    let store = patient(folder).await;
    store.sagas().define("orders", &saga(1)).await.unwrap();
    store.close().await;
    folder.join("store.db")
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn a_file_at_rest_is_read_and_nothing_is_made_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = at_rest(folder.path()).await;
    let before = files(folder.path());
    assert_eq!(before.len(), 1, "{:?}", before.keys());
    let store = read_only(&path).await.unwrap();
    assert_eq!(versions(&store).await.unwrap(), [1]);
    for refused in [store.begin().await.err(), store.migrate().await.err(), store.check().await.err()] {
        let refused = refused.expect("refused");
        assert!(matches!(refused, StoreError::Refused(_)) && refused.to_string().contains("for reading only"), "{refused}");
    }
    store.close().await;
    assert_eq!(files(folder.path()), before);
}

#[tokio::test]
async fn what_a_writer_commits_is_seen_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let writer = patient(folder.path()).await;
    let store = read_only(&folder.path().join("store.db")).await.unwrap();
    assert_eq!(versions(&store).await.unwrap(), [0; 0]);
    let mut open = writer.begin().await.unwrap();
    note(&mut *open, "not committed").await.unwrap();
    assert_eq!(versions(&store).await.unwrap(), [0; 0], "a reader does not wait for a writer");
    open.commit().await.unwrap();
    writer.sagas().define("orders", &saga(1)).await.unwrap();
    assert_eq!(versions(&store).await.unwrap(), [1]);
    store.close().await;
    writer.sagas().define("orders", &saga(2)).await.unwrap();
}

#[tokio::test]
async fn what_a_killed_writer_has_left_is_read_and_kept() {
    let (folder, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let writer = patient(folder.path()).await;
    writer.sagas().define("orders", &saga(1)).await.unwrap();
    for path in files(folder.path()).keys() {
        fs::copy(path, killed.path().join(path.file_name().unwrap())).unwrap();
    }
    let kept = |name: &str| fs::read(killed.path().join(name)).unwrap();
    let before = (kept("store.db"), kept("store.db-wal"));
    let store = read_only(&killed.path().join("store.db")).await.unwrap();
    assert_eq!(versions(&store).await.unwrap(), [1]);
    store.close().await;
    drop(store);
    assert_eq!((kept("store.db"), kept("store.db-wal")), before);
}

#[tokio::test]
async fn a_file_that_is_opened_meanwhile_is_to_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = at_rest(folder.path()).await;
    let store = read_only(&path).await.unwrap();
    let writer = patient(folder.path()).await;
    let contended = versions(&store).await.unwrap_err();
    assert!(matches!(contended, StoreError::Contended(_)), "{contended}");
    writer.sagas().define("orders", &saga(2)).await.unwrap();
    writer.close().await;
    let contended = versions(&store).await.unwrap_err();
    assert!(matches!(contended, StoreError::Contended(_)), "it is at rest again, and another: {contended}");
    assert_eq!(versions(&read_only(&path).await.unwrap()).await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn what_is_not_ours_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("notes.db"), "these are notes, and no database at all\n".repeat(50)).unwrap();
    fs::write(path("empty.db"), "").unwrap();
    let before = files(folder.path());
    for (name, fits, told) in [
        ("notes.db", (|error| matches!(error, StoreError::Incompatible(_))) as fn(&StoreError) -> bool, "no SQLite database"),
        ("empty.db", |error| matches!(error, StoreError::NotMigrated(_)), "none of the framework's tables"),
        ("missing.db", |error| matches!(error, StoreError::Unavailable(_)), "the file cannot be found"),
        (".", |error| matches!(error, StoreError::Unavailable(_)), "this is no file"),
    ] {
        let error = read_only(&path(name)).await.unwrap_err();
        let text = error.to_string();
        assert!(fits(&error) && text.contains(told) && text.contains(&folder.path().display().to_string()), "{name}: {error}");
    }
    assert_eq!(files(folder.path()), before);
}

#[tokio::test]
async fn a_database_of_another_version_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (sql, told) in [
        ("DELETE FROM sagas_migrations WHERE version >= 3", "migration 3 (`sagas`) of set `sagas` has not run: an older program"),
        ("INSERT INTO sagas_migrations VALUES ('sagas', 99, 'later', '')", "migration 99 of set `sagas` has run"),
    ] {
        let path = folder.path().join(format!("{}.db", sql.len()));
        let store = open(SqliteOptions::file(&path)).await;
        let mut tx = store.begin().await.unwrap();
        let Some(SqlConnection::Sqlite(connection)) = tx.sql() else { panic!("no connection") };
        sqlx::query(sql).execute(connection).await.unwrap();
        tx.commit().await.unwrap();
        store.close().await;
        let error = read_only(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
        assert!(error.to_string().contains(told) && error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_url_is_opened_for_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = at_rest(folder.path()).await;
    let database = Database::read_only(&format!("sqlite:{}", path.display())).await.unwrap();
    assert_eq!(database.store().sagas().services().await.unwrap(), ["orders"]);
    for url in ["memory:", "sqlite::memory:", "mysql://shop:secret@db/shop", "sqlite:"] {
        let error = Database::read_only(url).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)) && !error.to_string().contains("secret"), "{url}: {error}");
    }
}
