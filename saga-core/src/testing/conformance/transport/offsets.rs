//! Committed offsets, and where a group continues.

use std::sync::Arc;

use super::bench::{Bench, numbers, sorted, within};
use crate::{
    message::Record,
    time::{LogTime, Timestamp},
    transport::Transport,
};

/// Checks that a returning group reads the records after its commit and none before it.
pub async fn a_group_goes_on_where_it_committed(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 3).await;
    bench.publish_numbers(0..30).await;
    let mut reader = bench.reader("g").await;
    let read = reader.read(30).await;
    reader.commit(&read).await;
    reader.close().await;
    bench.publish_numbers(30..60).await;
    assert_eq!(sorted(&bench.reader("g").await.read(30).await), (30..60).collect::<Vec<_>>());
}

/// Checks that a returning group reads again what it had not committed.
pub async fn what_was_not_committed_comes_again(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    bench.publish_numbers(0..10).await;
    let mut reader = bench.reader("g").await;
    let read = reader.read(10).await;
    reader.commit(&read[..4]).await;
    drop(reader);
    assert_eq!(numbers(&bench.reader("g").await.read(6).await), [4, 5, 6, 7, 8, 9]);
}

/// Checks that committing a lower offset later has no effect.
pub async fn a_commit_never_goes_back(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    bench.publish_numbers(0..10).await;
    let mut reader = bench.reader("g").await;
    let read = reader.read(10).await;
    reader.commit(&read[..8]).await;
    reader.commit(&read[..3]).await;
    reader.close().await;
    assert_eq!(numbers(&bench.reader("g").await.read(2).await), [8, 9]);
}

/// Checks that committing a partition of another member is not an error and has no effect.
pub async fn a_commit_of_a_foreign_partition_is_passed_over(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    bench.publish_numbers(0..10).await;
    let mut owner = bench.reader("g").await;
    owner.hold(1).await;
    let mut idle = bench.reader("g").await;
    let commit = idle.subscription.commit(vec![(bench.partition(0), 10)]);
    within("committing", commit).await.expect("a foreign partition is passed over");
    assert_eq!(bench.lag("g").await, 10);
}

/// Checks that a commit is stored even if its future is dropped at once.
pub async fn a_commit_works_without_being_polled(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    bench.publish_numbers(0..10).await;
    let mut reader = bench.reader("g").await;
    reader.read(10).await;
    drop(reader.subscription.commit(vec![(bench.partition(0), 7)]));
    bench.lag_becomes("g", 3).await;
}

/// Checks that the lag counts the records that are published and not committed, also for a group that does not exist yet.
pub async fn lag_counts_what_is_not_committed(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 3).await;
    bench.publish_numbers(0..30).await;
    assert_eq!(bench.lag("g").await, 30);
    let mut reader = bench.reader("g").await;
    let read = reader.read(30).await;
    assert_eq!(bench.lag("g").await, 30, "reading is not committing");
    reader.commit(&read).await;
    assert_eq!(bench.lag("g").await, 0);
    bench.publish_numbers(30..35).await;
    assert_eq!((bench.lag("g").await, bench.lag("never there").await), (5, 35));
}

/// Checks that a group that subscribes late begins at the oldest record.
pub async fn a_late_group_begins_at_the_oldest_record(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 2).await;
    bench.publish_numbers(0..20).await;
    let mut early = bench.reader("early").await;
    let read = early.read(20).await;
    early.commit(&read).await;
    assert_eq!(sorted(&bench.reader("late").await.read(20).await), (0..20).collect::<Vec<_>>());
}

/// Checks the offset range of a partition, and the offset of its first record that is not older than a time.
pub async fn offsets_are_found_by_time(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 2).await;
    let second = |number: i64| 1_700_000_000_000 + number * 1_000;
    let records =
        (0..20).map(|number| Record { timestamp: LogTime::from_millis(second(number)), ..bench.record("one key", number) });
    let partition = bench.publish(records.collect()).await[0].partition;
    // (the requested time, the expected offset in the partition with records)
    let table = [(None, 0), (Some(second(0) - 1), 0), (Some(second(7)), 7), (Some(second(7) - 1), 7), (Some(second(20)), 20)];
    for (at, expected) in table {
        let asked = bench.log.offsets(&bench.topic, at.map(Timestamp::from_millis));
        let mut found = within("asking for offsets", asked).await.expect("offsets");
        found.sort_by_key(|of| of.partition.partition);
        let of: Vec<_> = found.iter().map(|of| (of.partition.partition, of.oldest, of.end, of.at)).collect();
        let expected = [0, 1].map(|number| if number == partition { (number, 0, 20, expected) } else { (number, 0, 0, 0) });
        assert_eq!(of, expected, "at {at:?}");
    }
    let unknown = format!("{}.unknown", bench.topic);
    assert!(within("asking for offsets", bench.log.offsets(&unknown, None)).await.is_err(), "there is no such topic");
}
