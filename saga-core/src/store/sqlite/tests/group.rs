//! Group commit.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use super::{PATIENCE, notes, open, patient, until_waiting};
use crate::store::{
    Store, StoreError, StoreTx,
    sqlite::{SqliteOptions, SqliteStore, tests::note},
};

/// What a unit does when it receives its turn.
#[derive(Debug, Clone, Copy)]
enum Act {
    Commit,
    Drop,
    /// Runs a statement that fails, and drops the unit.
    Fail,
    /// Inserts a reference to a row that does not exist, which is checked at the commit.
    Dangle,
}

/// Holds the writer until all `acts` wait, so that they form one group with the first unit.
async fn group(store: &Arc<SqliteStore>, acts: &[Act]) -> (Result<(), StoreError>, Vec<Result<(), StoreError>>) {
    let mut first = store.begin().await.unwrap();
    note(&mut *first, "first").await.unwrap();
    let mut tasks: Vec<JoinHandle<_>> = Vec::new();
    for (index, act) in acts.iter().copied().enumerate() {
        let store_ = Arc::clone(store);
        tasks.push(tokio::spawn(async move { run(store_.begin().await.unwrap(), index, act).await }));
        until_waiting(store, index + 1).await;
    }
    let first = first.commit().await;
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    (first, results)
}

async fn run(mut tx: Box<dyn StoreTx>, index: usize, act: Act) -> Result<(), StoreError> {
    note(&mut *tx, &index.to_string()).await.unwrap();
    match act {
        Act::Commit => tx.commit().await,
        Act::Drop => Ok(()),
        Act::Fail => {
            let Some(crate::store::SqlConnection::Sqlite(connection)) = tx.sql() else { panic!("no connection") };
            sqlx::query("INSERT INTO notes (id) SELECT id FROM notes").execute(connection).await.unwrap_err();
            Ok(())
        }
        Act::Dangle => {
            let Some(crate::store::SqlConnection::Sqlite(connection)) = tx.sql() else { panic!("no connection") };
            sqlx::query("INSERT INTO children VALUES (4711)").execute(connection).await.unwrap();
            tx.commit().await
        }
    }
}

#[tokio::test]
async fn units_that_wait_share_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(patient(folder.path()).await);
    let before = store.guard.commits();
    let (first, results) = group(&store, &[Act::Commit; 20]).await;
    assert!(first.is_ok() && results.iter().all(Result::is_ok), "{first:?} {results:?}");
    assert_eq!(store.guard.commits() - before, 1);
    assert_eq!(notes(&store).await.len(), 21);
}

#[tokio::test]
async fn a_group_has_a_largest_size() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(patient(folder.path()).await);
    let before = store.guard.commits();
    let (first, results) = group(&store, &[Act::Commit; 70]).await;
    assert!(first.is_ok() && results.iter().all(Result::is_ok), "{first:?} {results:?}");
    assert_eq!(store.guard.commits() - before, 2);
}

#[tokio::test]
async fn without_a_window_every_unit_commits_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::file(folder.path().join("store.db")).begin_timeout(PATIENCE).group_window(Duration::ZERO);
    let store = Arc::new(open(options).await);
    let before = store.guard.commits();
    let (first, results) = group(&store, &[Act::Commit; 5]).await;
    assert!(first.is_ok() && results.iter().all(Result::is_ok), "{first:?} {results:?}");
    assert_eq!(store.guard.commits() - before, 6);
}

#[tokio::test]
async fn a_unit_that_nobody_follows_commits_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path()).await;
    let before = store.guard.commits();
    for text in ["a", "b", "c"] {
        let mut tx = store.begin().await.unwrap();
        note(&mut *tx, text).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(store.guard.commits() - before, 3);
}

#[tokio::test]
async fn a_unit_that_fails_undoes_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(patient(folder.path()).await);
    let before = store.guard.commits();
    let (first, results) = group(&store, &[Act::Commit, Act::Drop, Act::Commit, Act::Fail, Act::Commit]).await;
    assert!(first.is_ok() && results.iter().all(Result::is_ok), "{first:?} {results:?}");
    assert_eq!(notes(&store).await, ["first", "0", "2", "4"]);
    assert_eq!(store.guard.commits() - before, 1);
}

#[tokio::test]
async fn the_offender_of_a_refused_commit_is_found_when_all_try_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(patient(folder.path()).await);
    let (first, results) = group(&store, &[Act::Commit, Act::Dangle, Act::Commit]).await;
    for result in [first].into_iter().chain(results) {
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    }
    assert!(notes(&store).await.is_empty(), "nothing of it is committed");

    let (first, results) = group(&store, &[Act::Commit, Act::Dangle, Act::Commit]).await;
    assert!(first.is_ok(), "{first:?}");
    assert!(matches!(results[..], [Ok(()), Err(StoreError::Refused(_)), Ok(())]), "{results:?}");
    assert_eq!(notes(&store).await, ["first", "0", "2"]);
}

#[tokio::test]
async fn the_undo_of_a_unit_stays_within_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(patient(folder.path()).await);
    let mut first = store.begin().await.unwrap();
    first.savepoint().await.unwrap();
    note(&mut *first, "first").await.unwrap();
    let second = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let mut tx = store.begin().await.unwrap();
            note(&mut *tx, "second").await.unwrap();
            tx.undo().await.expect_err("the first one's savepoint is not ours");
            tx.savepoint().await.unwrap();
            note(&mut *tx, "gone").await.unwrap();
            tx.undo().await.unwrap();
            tx.commit().await
        }
    });
    until_waiting(&store, 1).await;
    first.commit().await.unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(notes(&store).await, ["first", "second"]);
}
