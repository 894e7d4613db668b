//! Commit, rollback and savepoints.

use super::{
    Subject,
    samples::{at, entry, instance, key, letter, parked, received, record, running, step},
    write,
};
use crate::{
    id::MessageId,
    store::{DeadLetterState, StoreTx},
};

async fn append(tx: &mut dyn StoreTx, numbers: std::ops::Range<usize>) {
    let records: Vec<_> = numbers.map(record).collect();
    tx.append_outbox("orders", &records).await.expect("append");
}

async fn published(subject: &Subject) -> Vec<String> {
    let rows = subject.store.outbox("orders", 0, 100).await.expect("read");
    rows.iter().map(|row| row.record.header("ce_id").unwrap_or_default().to_owned()).collect()
}

/// Writes to every table of sagas that a transaction can write to.
async fn write_saga(tx: &mut dyn StoreTx) {
    tx.save_steps("orders", &[step("1", 1)]).await.expect("save");
    tx.save_instances("orders", &[running("1", 1)]).await.expect("save");
    tx.append_history("orders", &[entry("1", "OrderPlaced")]).await.expect("append");
}

async fn assert_no_saga(subject: &Subject) {
    let sagas = subject.store.sagas();
    assert_eq!(sagas.steps("orders", &instance("1")).await.expect("read"), []);
    assert_eq!(sagas.instance("orders", &instance("1")).await.expect("read"), None);
    assert_eq!(sagas.history("orders", &instance("1")).await.expect("read"), []);
}

/// Checks that a transaction that is dropped without a commit has no effect.
///
/// # Panics
/// Panics if the check fails.
pub async fn what_is_dropped_is_rolled_back(subject: Subject) {
    let store = subject.migrated().await;
    let mut tx = store.begin().await.expect("begin");
    append(&mut *tx, 0..3).await;
    write_saga(&mut *tx).await;
    drop(tx);
    write(store, async |tx| append(tx, 7..8).await).await;
    assert_eq!(published(&subject).await, ["7"]);
    assert_no_saga(&subject).await;
}

/// Checks that uncommitted data is not visible to others, and that readers do not wait for it.
///
/// # Panics
/// Panics if the check fails.
pub async fn what_is_not_committed_is_not_seen(subject: Subject) {
    let store = subject.migrated().await;
    let mut tx = store.begin().await.expect("begin");
    append(&mut *tx, 0..1).await;
    tx.claim("orders", &[key(1)], at(1)).await.expect("claim");
    assert_eq!(published(&subject).await, [""; 0]);
    assert_eq!(store.seen("orders", &[key(1)]).await.expect("seen"), [false]);
    tx.commit().await.expect("commit");
    assert_eq!(published(&subject).await, ["0"]);
    assert_eq!(store.seen("orders", &[key(1)]).await.expect("seen"), [true]);
}

/// Checks that an undo keeps what was written before the savepoint, and that the savepoint can be used again.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_savepoint_can_be_undone_again(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| {
        append(tx, 0..1).await;
        tx.savepoint().await.expect("savepoint");
        append(tx, 1..2).await;
        tx.undo().await.expect("undo");
        tx.undo().await.expect("undo what is undone");
        append(tx, 2..3).await;
        tx.undo().await.expect("undo again");
        append(tx, 3..4).await;
    })
    .await;
    assert_eq!(published(&subject).await, ["0", "3"]);
}

/// Checks that a new savepoint keeps what was written since the previous one.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_savepoint_can_be_set_anew(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| {
        for number in 0..6 {
            tx.savepoint().await.expect("savepoint");
            append(tx, number..number + 1).await;
            if number % 2 == 1 {
                tx.undo().await.expect("undo");
            }
        }
    })
    .await;
    assert_eq!(published(&subject).await, ["0", "2", "4"]);
}

/// Checks that an undo without a savepoint is rejected and is harmless.
///
/// # Panics
/// Panics if the check fails.
pub async fn nothing_to_undo_is_refused(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| {
        append(tx, 0..1).await;
        tx.undo().await.expect_err("there is no savepoint");
    })
    .await;
    assert_eq!(published(&subject).await, ["0"]);
}

/// Checks that an undo covers every kind of change, and that later queries do not see the undone changes.
///
/// # Panics
/// Panics if the check fails.
pub async fn undo_covers_every_table(subject: Subject) {
    let store = subject.migrated().await;
    let letter_id = MessageId::new("letter");
    let (parked_id, sent) = write(store, async |tx| {
        tx.insert_dead_letters("orders", &[letter("letter", 1)]).await.expect("bury");
        let parked = tx.park("orders", &[parked(received("orders", Some(b"k"), 1), 1)]).await.expect("park");
        (parked[0], tx.append_outbox("orders", &[record(1)]).await.expect("append"))
    })
    .await;
    write(store, async |tx| {
        tx.savepoint().await.expect("savepoint");
        for _ in 0..2 {
            assert_eq!(tx.claim("orders", &[key(1)], at(1)).await.expect("claim"), [true]);
            tx.delete_outbox(&sent).await.expect("delete");
            append(tx, 2..3).await;
            write_saga(tx).await;
            tx.park("orders", &[parked(received("orders", Some(b"k"), 2), 1)]).await.expect("park");
            tx.repark(parked_id, 9, at(9), "changed").await.expect("repark");
            assert_eq!(tx.unpark(&[parked_id]).await.expect("unpark"), [true]);
            assert!(tx.settle_dead_letter("orders", &letter_id, DeadLetterState::Retried, at(9)).await.expect("settle"));
            tx.insert_dead_letters("orders", &[letter("another", 2)]).await.expect("bury");
            tx.undo().await.expect("undo");
        }
    })
    .await;
    assert_eq!(store.seen("orders", &[key(1)]).await.expect("seen"), [false]);
    assert_eq!(published(&subject).await, ["1"]);
    assert_no_saga(&subject).await;
    let waiting = store.parked("orders", "orders", b"k", 10).await.expect("read");
    assert_eq!(waiting.iter().map(|message| (message.id, message.attempts)).collect::<Vec<_>>(), [(parked_id, 1)]);
    let (open, total) = store.dead_letters("orders", 0, 10).await.expect("list");
    assert_eq!((open[0].id.as_str(), total), ("letter", 1));
}
