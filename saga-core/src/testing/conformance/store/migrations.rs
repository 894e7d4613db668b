//! Migrations.

use std::sync::Arc;

use super::{Subject, samples::record, write};
use crate::store::{Migration, StoreError};

const ONE: Migration = Migration { version: 1, name: "one", sql: "CREATE TABLE one (id BIGINT PRIMARY KEY);" };
const TWO: Migration =
    Migration { version: 2, name: "two", sql: "CREATE TABLE two (id BIGINT); INSERT INTO one (id) VALUES (1);" };

/// Checks that migrating again changes nothing, for the store's own tables and for a set.
///
/// # Panics
/// Panics if the check fails.
pub async fn migrating_twice_changes_nothing(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| tx.append_outbox("orders", &[record(1)]).await.expect("append")).await;
    store.migrate().await.expect("migrate again");
    assert_eq!(store.outbox("orders", 0, 10).await.expect("read").len(), 1);
    store.migrate_set("shop", &[ONE]).await.expect("first");
    store.migrate_set("shop", &[ONE, TWO]).await.expect("second only");
    store.migrate_set("shop", &[ONE, TWO]).await.expect("nothing");
}

/// Checks that each migration of a set runs once when many migrate it at the same time.
///
/// # Panics
/// Panics if the check fails.
pub async fn sets_migrate_once_though_many_try(subject: Subject) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&subject.store);
        tasks.spawn(async move {
            store.migrate().await?;
            store.migrate_set("shop", &[ONE, TWO]).await
        });
    }
    for result in tasks.join_all().await {
        result.expect("migrate");
    }
}

/// Checks that a migration that was changed after it had run is rejected, by name.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_changed_migration_is_refused(subject: Subject) {
    let store = subject.migrated().await;
    store.migrate_set("shop", &[ONE]).await.expect("migrate");
    store.migrate_set("other", &[Migration { sql: TWO.sql, ..ONE }]).await.expect("sets are apart");
    let error =
        store.migrate_set("shop", &[Migration { sql: "CREATE TABLE changed (id BIGINT);", ..ONE }]).await.expect_err("changed");
    assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
    assert!(error.to_string().contains("`one`"), "{error}");
}

/// Checks that a set with migrations that this program does not have is rejected, because a newer program has written it.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_database_ahead_of_the_program_is_refused(subject: Subject) {
    let store = subject.migrated().await;
    store.migrate_set("shop", &[ONE, TWO]).await.expect("migrate");
    let error = store.migrate_set("shop", &[ONE]).await.expect_err("ahead");
    assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
}

/// Checks that version numbers with gaps are rejected before anything runs.
///
/// # Panics
/// Panics if the check fails.
pub async fn migrations_must_be_numbered_without_gaps(subject: Subject) {
    let store = subject.migrated().await;
    let gap = Migration { version: 3, ..TWO };
    let error = store.migrate_set("shop", &[ONE, gap]).await.expect_err("gap");
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    store.migrate_set("shop", &[ONE, TWO]).await.expect("nothing had run");
}

/// Checks that a migrated store passes its own check.
///
/// # Panics
/// Panics if the check fails.
pub async fn the_store_is_well_after_migrating(subject: Subject) {
    let store = subject.migrated().await;
    store.check().await.expect("well");
    store.check().await.expect("well again");
}
