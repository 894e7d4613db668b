//! Parked messages.

use super::{
    Subject,
    samples::{at, odd_record, parked, received},
    write,
};
use crate::{
    message::Received,
    store::{ParkedMessage, parking_key},
};

fn offsets(messages: &[ParkedMessage]) -> Vec<i64> {
    messages.iter().map(|message| message.received.offset).collect()
}

/// Checks that the messages of a key are read in the order in which they were parked, and that each key has their number and the due time
/// of the first.
///
/// # Panics
/// Panics if the check fails.
pub async fn parked_messages_come_in_order_per_key(subject: Subject) {
    let store = subject.migrated().await;
    let (one, two): (&[u8], &[u8]) = (&[0, 1, 255], &[0, 1]);
    let first = [
        parked(received("orders", Some(one), 1), 50),
        parked(received("orders", Some(two), 2), 40),
        parked(received("orders", Some(one), 3), 30),
    ];
    let ids = write(store, async |tx| tx.park("orders", &first).await.expect("park")).await;
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    let second = [parked(received("orders", Some(one), 4), 20), parked(received("refunds", Some(one), 5), 10)];
    write(store, async |tx| tx.park("orders", &second).await.expect("park")).await;

    assert_eq!(offsets(&store.parked("orders", "orders", one, 10).await.expect("read")), [1, 3, 4]);
    assert_eq!(offsets(&store.parked("orders", "orders", one, 2).await.expect("read")), [1, 3]);
    assert_eq!(offsets(&store.parked("orders", "orders", two, 10).await.expect("read")), [2]);
    assert_eq!(offsets(&store.parked("orders", "refunds", one, 10).await.expect("read")), [5]);
    assert!(offsets(&store.parked("orders", "orders", b"other", 10).await.expect("read")).is_empty());

    let keys = store.parked_keys("orders").await.expect("keys");
    let mut keys: Vec<_> = keys.iter().map(|key| (&*key.topic, key.partition, &key.key[..], key.count, key.due)).collect();
    keys.sort();
    assert_eq!(keys, [("orders", 3, two, 1, at(40)), ("orders", 3, one, 3, at(50)), ("refunds", 3, one, 1, at(10))]);
}

/// Checks that a message without a key is parked under its position, with no others behind it.
///
/// # Panics
/// Panics if the check fails.
pub async fn parked_messages_without_a_key_stand_alone(subject: Subject) {
    let store = subject.migrated().await;
    let messages: Vec<ParkedMessage> = (1..=2).map(|offset| parked(received("orders", None, offset), offset)).collect();
    write(store, async |tx| tx.park("orders", &messages).await.expect("park")).await;
    assert_eq!(store.parked_keys("orders").await.expect("keys").len(), 2);
    let key = parking_key(&messages[1].received);
    let found = store.parked("orders", "orders", &key, 10).await.expect("read");
    assert_eq!(offsets(&found), [2]);
    assert_eq!(found[0].received.record.key, None);
}

/// Checks that a parked message is kept unchanged, with the id that parking returned.
///
/// # Panics
/// Panics if the check fails.
pub async fn parked_messages_are_kept_untouched(subject: Subject) {
    let store = subject.migrated().await;
    let received = Received { record: odd_record().into(), partition: 0, offset: i64::MAX };
    let message = ParkedMessage { error: "it's \0 odd".into(), attempts: 3, ..parked(received, -5) };
    let ids = write(store, async |tx| tx.park("orders", std::slice::from_ref(&message)).await.expect("park")).await;
    let found = store.parked("orders", &message.received.record.topic, &message.key(), 1).await.expect("read");
    assert_eq!(found, [ParkedMessage { id: ids[0], ..message }]);
}

/// Checks that parking a message again changes its attempts, time and error, but not its place.
///
/// # Panics
/// Panics if the check fails.
pub async fn reparking_changes_the_attempt(subject: Subject) {
    let store = subject.migrated().await;
    let messages: Vec<ParkedMessage> = (1..=2).map(|offset| parked(received("orders", Some(b"k"), offset), offset)).collect();
    let ids = write(store, async |tx| tx.park("orders", &messages).await.expect("park")).await;
    write(store, async |tx| tx.repark(ids[0], 2, at(900), "still down").await.expect("repark")).await;
    let found = store.parked("orders", "orders", b"k", 10).await.expect("read");
    let changed = ParkedMessage { id: ids[0], attempts: 2, due: at(900), error: "still down".into(), ..messages[0].clone() };
    assert_eq!(found, [changed, ParkedMessage { id: ids[1], ..messages[1].clone() }]);
    assert_eq!(store.parked_keys("orders").await.expect("keys")[0].due, at(900));
}

/// Checks that the time when a message was first seen is kept over its attempts, and is reset when the message is released or replaced.
///
/// # Panics
/// Panics if the check fails.
pub async fn first_sight_is_kept(subject: Subject) {
    let store = subject.migrated().await;
    let messages: Vec<ParkedMessage> = (1..=3).map(|offset| parked(received("orders", Some(b"k"), offset), offset)).collect();
    let ids = write(store, async |tx| tx.park("orders", &messages).await.expect("park")).await;
    write(store, async |tx| {
        tx.repark(ids[0], 2, at(900), "still down").await.expect("repark");
        tx.release(&[ids[1]], at(800)).await.expect("release");
        tx.replace_parked(ids[2], &messages[2].received, at(700)).await.expect("replace");
    })
    .await;
    let found = store.parked("orders", "orders", b"k", 10).await.expect("read");
    let seen: Vec<_> = found.iter().map(|message| message.seen).collect();
    assert_eq!(seen, [messages[0].seen, at(800), at(700)]);
}

/// Checks that unparking a message reports once that it existed.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_message_is_unparked_once(subject: Subject) {
    let store = subject.migrated().await;
    let messages: Vec<ParkedMessage> = (1..=3).map(|offset| parked(received("orders", Some(b"k"), offset), offset)).collect();
    let ids = write(store, async |tx| tx.park("orders", &messages).await.expect("park")).await;
    let there = write(store, async |tx| tx.unpark(&[ids[1], ids[2] + 100, ids[0]]).await.expect("unpark")).await;
    assert_eq!(there, [true, false, true]);
    write(store, async |tx| {
        assert_eq!(tx.unpark(&[ids[0], ids[2], ids[2]]).await.expect("unpark"), [false, true, false]);
        assert_eq!(tx.unpark(&[ids[2]]).await.expect("unpark"), [false]);
        assert!(tx.unpark(&[]).await.expect("unpark").is_empty());
    })
    .await;
    assert!(store.parked_keys("orders").await.expect("keys").is_empty());
}

/// Checks that a service sees only its own parked messages.
///
/// # Panics
/// Panics if the check fails.
pub async fn parked_messages_of_services_are_apart(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| tx.park("orders", &[parked(received("orders", Some(b"k"), 1), 1)]).await.expect("park")).await;
    assert!(store.parked_keys("payments").await.expect("keys").is_empty());
    assert!(store.parked("payments", "orders", b"k", 10).await.expect("read").is_empty());
}

/// Checks that the parked messages of keys are counted for all partitions, including those of the transaction itself.
///
/// # Panics
/// Panics if the check fails.
pub async fn parked_messages_of_keys_are_counted(subject: Subject) {
    let store = subject.migrated().await;
    let mut moved = received("orders", Some(b"one"), 2);
    moved.partition += 7;
    let messages = [
        parked(received("orders", Some(b"one"), 1), 50),
        parked(moved, 50),
        parked(received("orders", Some(b"two"), 3), 50),
        parked(received("refunds", Some(b"one"), 4), 50),
    ];
    let ids = write(store, async |tx| tx.park("orders", &messages).await.expect("park")).await;
    let keys = ["two", "one", "other", "one"].map(|key| bytes::Bytes::from_static(key.as_bytes()));
    let mut tx = store.begin().await.expect("begin");
    assert_eq!(tx.count_parked("orders", "orders", &keys).await.expect("count"), [1, 2, 0, 2]);
    assert_eq!(tx.count_parked("another", "orders", &keys).await.expect("count"), [0, 0, 0, 0]);
    assert_eq!(tx.count_parked("orders", "orders", &[]).await.expect("count"), Vec::<usize>::new());
    tx.unpark(&ids[..1]).await.expect("unpark");
    tx.park("orders", &[parked(received("orders", Some(b"two"), 5), 50)]).await.expect("park");
    assert_eq!(tx.count_parked("orders", "orders", &keys).await.expect("count"), [2, 1, 0, 1]);
    tx.commit().await.expect("commit");
}
