//! The inbox.

use super::{
    Subject,
    samples::{at, key, keys},
    write,
};
use crate::{id::MessageId, store::InboxKey};

/// Checks that a message is new at its first claim and never again, and that it then counts as seen.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_message_is_new_once(subject: Subject) {
    let store = subject.migrated().await;
    assert_eq!(store.seen("orders", &keys(0..2)).await.expect("seen"), [false, false]);
    let new = write(store, async |tx| tx.claim("orders", &keys(0..3), at(1)).await.expect("claim")).await;
    assert_eq!(new, [true, true, true]);
    let new = write(store, async |tx| tx.claim("orders", &keys(1..5), at(2)).await.expect("claim")).await;
    assert_eq!(new, [false, false, true, true]);
    assert_eq!(store.seen("orders", &[key(9), key(4), key(0)]).await.expect("seen"), [false, true, true]);
    let nothing = write(store, async |tx| tx.claim("orders", &[], at(2)).await.expect("claim")).await;
    assert!(nothing.is_empty());
}

/// Checks that a message that is claimed twice, in one call or in two of one transaction, is new once.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_message_given_twice_is_new_once(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| {
        let twice = [key(1), key(2), key(1), key(1), key(3)];
        assert_eq!(tx.claim("orders", &twice, at(1)).await.expect("claim"), [true, true, false, false, true]);
        assert_eq!(tx.claim("orders", &[key(3), key(4)], at(1)).await.expect("claim"), [false, true]);
    })
    .await;
}

/// Checks that a claim that was rolled back or undone leaves the message new.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_claim_rolled_back_is_no_claim(subject: Subject) {
    let store = subject.migrated().await;
    let mut tx = store.begin().await.expect("begin");
    tx.claim("orders", &[key(1)], at(1)).await.expect("claim");
    drop(tx);
    write(store, async |tx| {
        tx.savepoint().await.expect("savepoint");
        assert_eq!(tx.claim("orders", &[key(1)], at(1)).await.expect("claim"), [true]);
        tx.undo().await.expect("undo");
        assert_eq!(tx.claim("orders", &[key(1)], at(1)).await.expect("claim"), [true]);
    })
    .await;
}

/// Checks that a message that one service has claimed is new to another, and that the same id from another source is new too.
///
/// # Panics
/// Panics if the check fails.
pub async fn messages_of_services_are_apart(subject: Subject) {
    let store = subject.migrated().await;
    let elsewhere = InboxKey { source: "elsewhere".into(), ..key(1) };
    write(store, async |tx| {
        assert_eq!(tx.claim("orders", &[key(1)], at(1)).await.expect("claim"), [true]);
        assert_eq!(tx.claim("payments", &[key(1)], at(1)).await.expect("claim"), [true]);
        assert_eq!(tx.claim("orders", std::slice::from_ref(&elsewhere), at(1)).await.expect("claim"), [true]);
    })
    .await;
    assert_eq!(store.seen("payments", &[key(1), elsewhere]).await.expect("seen"), [true, false]);
}

/// Checks that an id can be any text, and that different texts are different ids.
///
/// # Panics
/// Panics if the check fails.
pub async fn whatever_text_an_identity_is(subject: Subject) {
    let store = subject.migrated().await;
    let texts = ["", " ", "a", "A", "a\0b", "a\0", "'; DROP TABLE sagas_inbox; --", "é", "e\u{301}", "1", "01", "1.0"];
    let keys: Vec<InboxKey> = texts.iter().map(|text| InboxKey { source: (*text).into(), id: MessageId::new(*text) }).collect();
    let new = write(store, async |tx| tx.claim("orders", &keys, at(1)).await.expect("claim")).await;
    assert_eq!(new, vec![true; texts.len()]);
    assert_eq!(store.seen("orders", &keys).await.expect("seen"), vec![true; texts.len()]);
    let new = write(store, async |tx| tx.claim("orders", &keys, at(1)).await.expect("claim")).await;
    assert_eq!(new, vec![false; texts.len()]);
}

/// Checks that claims older than a time are pruned, up to the limit, and only those of the service.
///
/// # Panics
/// Panics if the check fails.
pub async fn old_claims_are_pruned(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| {
        tx.claim("orders", &keys(0..5), at(10)).await.expect("claim");
        tx.claim("orders", &keys(5..7), at(20)).await.expect("claim");
        tx.claim("payments", &keys(0..2), at(10)).await.expect("claim");
    })
    .await;
    assert_eq!(store.prune_inbox("orders", at(20), 3).await.expect("prune"), 3);
    assert_eq!(store.prune_inbox("orders", at(20), 3).await.expect("prune"), 2);
    assert_eq!(store.prune_inbox("orders", at(20), 3).await.expect("prune"), 0);
    let left = store.seen("orders", &keys(0..7)).await.expect("seen");
    assert_eq!(left, [false, false, false, false, false, true, true]);
    assert_eq!(store.seen("payments", &keys(0..2)).await.expect("seen"), [true, true]);
}

/// Checks that ten thousand messages can be claimed in one call, and looked up in one.
///
/// # Panics
/// Panics if the check fails.
pub async fn ten_thousand_claims_fit_one_call(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| tx.claim("orders", &keys(5_000..5_100), at(1)).await.expect("claim")).await;
    let new = write(store, async |tx| tx.claim("orders", &keys(0..10_000), at(1)).await.expect("claim")).await;
    let expected: Vec<bool> = (0..10_000).map(|number| !(5_000..5_100).contains(&number)).collect();
    assert!(new == expected, "other than the hundred that were claimed before are not new");
    let seen = store.seen("orders", &keys(0..10_001)).await.expect("seen");
    assert!(seen.iter().take(10_000).all(|seen| *seen) && !seen[10_000]);
}
