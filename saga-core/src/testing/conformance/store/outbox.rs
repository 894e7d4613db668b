//! The outbox.

use super::{
    Subject,
    samples::{odd_record, record},
    write,
};
use crate::{
    message::{Record, Shard, Shards},
    store::OutboxRow,
};

fn numbers(rows: &[OutboxRow]) -> Vec<i64> {
    rows.iter().map(|row| row.id).collect()
}

/// Checks that rows are read by ascending id, from a given id on and up to a limit, and that ids ascend in the order of the appended
/// records.
///
/// # Panics
/// Panics if the check fails.
pub async fn outbox_rows_come_in_order(subject: Subject) {
    let store = subject.migrated().await;
    let records: Vec<Record> = (0..5).map(record).collect();
    let first = write(store, async |tx| tx.append_outbox("orders", &records).await.expect("append")).await;
    let more = write(store, async |tx| tx.append_outbox("orders", &records[..2]).await.expect("append")).await;
    let ids = [first, more].concat();
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    let rows = store.outbox("orders", 0, 100).await.expect("read");
    assert_eq!(numbers(&rows), ids);
    assert_eq!(rows.iter().map(|row| row.record.clone()).collect::<Vec<_>>(), [&records[..], &records[..2]].concat());
    assert_eq!(numbers(&store.outbox("orders", ids[1], 3).await.expect("read")), ids[2..5]);
    assert!(numbers(&store.outbox("orders", ids[6], 3).await.expect("read")).is_empty());
    assert!(numbers(&store.outbox("orders", i64::MAX, 3).await.expect("read")).is_empty());
    assert!(numbers(&store.outbox("orders", 0, 0).await.expect("read")).is_empty());
    assert!(write(store, async |tx| tx.append_outbox("orders", &[]).await.expect("append")).await.is_empty());
}

/// Checks that a record is kept unchanged, with bytes that are not text, repeated header names, and missing or empty values.
///
/// # Panics
/// Panics if the check fails.
pub async fn outbox_rows_are_kept_untouched(subject: Subject) {
    let store = subject.migrated().await;
    let bare = Record { key: None, value: None, headers: Vec::new(), ..record(1) };
    let empty = Record { key: Some(Default::default()), value: Some(Default::default()), ..record(1) };
    let records = [odd_record(), bare, empty];
    write(store, async |tx| tx.append_outbox("orders", &records).await.expect("append")).await;
    let rows = store.outbox("orders", 0, 10).await.expect("read");
    assert_eq!(rows.into_iter().map(|row| row.record).collect::<Vec<_>>(), records);
}

/// Checks that only the given rows are deleted, that deleting a missing row is not an error, and that no id is used twice.
///
/// # Panics
/// Panics if the check fails.
pub async fn outbox_rows_are_deleted(subject: Subject) {
    let store = subject.migrated().await;
    let records: Vec<Record> = (0..4).map(record).collect();
    let ids = write(store, async |tx| tx.append_outbox("orders", &records).await.expect("append")).await;
    write(store, async |tx| tx.delete_outbox(&[ids[0], ids[3], ids[3] + 1000]).await.expect("delete")).await;
    assert_eq!(numbers(&store.outbox("orders", 0, 10).await.expect("read")), ids[1..3]);
    write(store, async |tx| {
        tx.delete_outbox(&[]).await.expect("delete nothing");
        tx.delete_outbox(&ids).await.expect("delete");
    })
    .await;
    let later = write(store, async |tx| tx.append_outbox("orders", &records[..1]).await.expect("append")).await;
    assert!(later[0] > ids[3], "{later:?} after {ids:?}");
}

/// Checks that a service reads only its own rows.
///
/// # Panics
/// Panics if the check fails.
pub async fn outboxes_of_services_are_apart(subject: Subject) {
    let store = subject.migrated().await;
    let ours = write(store, async |tx| tx.append_outbox("orders", &[record(1)]).await.expect("append")).await;
    let theirs = write(store, async |tx| tx.append_outbox("payments", &[record(2)]).await.expect("append")).await;
    assert_eq!(numbers(&store.outbox("orders", 0, 10).await.expect("read")), ours);
    assert_eq!(numbers(&store.outbox("payments", 0, 10).await.expect("read")), theirs);
}

/// Checks that the rows of given shards, without the known ones, are read by ascending id, up to a limit for each shard.
///
/// # Panics
/// Panics if the check fails.
pub async fn outbox_rows_come_by_shard(subject: Subject) {
    let store = subject.migrated().await;
    let records: Vec<Record> = (0..200).chain(0..200).map(record).collect();
    let ids = write(store, async |tx| tx.append_outbox("orders", &records).await.expect("append")).await;
    write(store, async |tx| tx.append_outbox("payments", &records).await.expect("append")).await;
    let all = store.outbox_of("orders", Shards::ALL, &[], 1_000).await.expect("read");
    assert!(all.iter().map(|row| (row.id, &row.record)).eq(ids.iter().copied().zip(&records)));
    let some: Shards = Shard::all().step_by(3).collect();
    let known: Vec<_> = ids.iter().copied().step_by(2).chain([i64::MAX]).collect();
    for limit in [0, 3, 1_000] {
        let mut counts = [0; Shard::COUNT];
        let expected: Vec<_> = all
            .iter()
            .filter(|row| some.contains(row.record.shard()) && !known.contains(&row.id))
            .filter(|row| {
                let count = &mut counts[usize::from(row.record.shard().number())];
                *count += 1;
                *count <= limit
            })
            .cloned()
            .collect();
        assert_eq!(store.outbox_of("orders", some, &known, limit).await.expect("read"), expected);
    }
    assert!(store.outbox_of("orders", Shards::default(), &[], 10).await.expect("read").is_empty());
}

/// Checks that ten thousand rows can be appended in one call, and deleted in one.
///
/// # Panics
/// Panics if the check fails.
pub async fn ten_thousand_rows_fit_one_call(subject: Subject) {
    let store = subject.migrated().await;
    let records: Vec<Record> = (0..10_000).map(record).collect();
    let ids = write(store, async |tx| tx.append_outbox("orders", &records).await.expect("append")).await;
    assert_eq!(ids.len(), records.len());
    let rows = store.outbox("orders", 0, 20_000).await.expect("read");
    assert!(rows.iter().map(|row| (row.id, &row.record)).eq(ids.iter().copied().zip(&records)));
    write(store, async |tx| tx.delete_outbox(&ids).await.expect("delete")).await;
    assert!(store.outbox("orders", 0, 1).await.expect("read").is_empty());
}
