//! Step records.

use super::{Subject, samples::step, write};

/// The steps of a saga instance come back as they were, oldest first, and no other instance's with them.
///
/// # Panics
/// When that is not so.
pub async fn steps_are_kept_per_saga(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| {
        tx.record_steps("orders", &[step("saga-1", 1), step("saga-2", 2), step("saga-1", 3)]).await.expect("record");
        tx.record_steps("orders", &[]).await.expect("record nothing");
    })
    .await;
    write(store, async |tx| tx.record_steps("orders", &[step("saga-1", 0)]).await.expect("record")).await;
    assert_eq!(store.steps("orders", "saga-1").await.expect("read"), [step("saga-1", 1), step("saga-1", 3), step("saga-1", 0)]);
    assert_eq!(store.steps("orders", "saga-2").await.expect("read"), [step("saga-2", 2)]);
    assert_eq!(store.steps("orders", "saga-3").await.expect("read"), []);
}

/// A service sees its own steps only.
///
/// # Panics
/// When it sees others.
pub async fn steps_of_services_are_apart(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| tx.record_steps("orders", &[step("saga", 1)]).await.expect("record")).await;
    write(store, async |tx| tx.record_steps("payments", &[step("saga", 2)]).await.expect("record")).await;
    assert_eq!(store.steps("orders", "saga").await.expect("read"), [step("saga", 1)]);
    assert_eq!(store.steps("payments", "saga").await.expect("read"), [step("saga", 2)]);
}
