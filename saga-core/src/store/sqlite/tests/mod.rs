//! Tests of the SQLite store, in addition to the conformance suite.

#![allow(clippy::unwrap_used)]

mod basics;
#[cfg(feature = "test-util")]
mod conformance;
mod faults;
mod group;
mod log;
mod opening;
mod plans;
mod reading;

use std::{path::Path, time::Duration};

use sqlx::Row;

use super::{SqliteOptions, SqliteStore};
use crate::store::{Migration, SqlConnection, Store, StoreTx};

const NOTES: &[Migration] = &[Migration {
    version: 1,
    name: "notes",
    sql: "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
          CREATE TABLE children (parent INTEGER REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED);",
}];

/// A store in `folder` that commits all waiting units together, also on a slow machine.
async fn patient(folder: &Path) -> SqliteStore {
    open(SqliteOptions::file(folder.join("store.db")).begin_timeout(PATIENCE).group_window(PATIENCE)).await
}

const PATIENCE: Duration = Duration::from_secs(60);

async fn open(options: SqliteOptions) -> SqliteStore {
    let store = SqliteStore::open(options).await.unwrap();
    store.migrate().await.unwrap();
    store.migrate_set("notes", NOTES).await.unwrap();
    store
}

async fn note(tx: &mut dyn StoreTx, text: &str) -> sqlx::Result<()> {
    let Some(SqlConnection::Sqlite(connection)) = tx.sql() else { panic!("no connection") };
    sqlx::query("INSERT INTO notes (text) VALUES (?)").bind(text).execute(connection).await?;
    Ok(())
}

async fn notes(store: &SqliteStore) -> Vec<String> {
    let mut connection = store.acquire().await.unwrap();
    let rows = sqlx::query("SELECT text FROM notes ORDER BY id").fetch_all(&mut *connection).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits until `count` units wait for the writer.
async fn until_waiting(store: &SqliteStore, count: usize) {
    let wait = async {
        while store.writer().unwrap().waiting() != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("nobody came to wait");
}
