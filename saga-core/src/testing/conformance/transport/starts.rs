//! Where a member begins to read, and the gap it gets if the log does not have that offset.

use std::sync::Arc;

use super::bench::{Bench, Reader, numbers, within};
use crate::transport::{TopicPartition, Transport};

/// Checks that nothing of an assigned partition is delivered before it is started.
pub async fn nothing_is_delivered_before_the_start(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    bench.publish_numbers(0..10).await;
    let mut reader = bench.unstarted("g").await;
    reader.is_silent().await;
    reader.start(bench.partition(0), None);
    assert_eq!(numbers(&reader.read(10).await), (0..10).collect::<Vec<_>>());
}

/// Checks that a member reads from the offset it chooses: before the committed offset, after it, or at the end.
pub async fn a_member_starts_at_an_offset(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    bench.publish_numbers(0..20).await;
    let mut reader = bench.reader("g").await;
    let read = reader.read(20).await;
    reader.commit(&read[..10]).await;
    reader.close().await;
    for start in [3, 10, 17, 20] {
        let mut reader = bench.unstarted("g").await;
        reader.start(bench.partition(0), Some(start));
        let count = usize::try_from(20 - start).expect("a count");
        assert_eq!(numbers(&reader.read(count).await), (20 - count..20).collect::<Vec<_>>());
        if start == 20 {
            bench.publish_numbers(20..21).await;
            assert_eq!(numbers(&reader.read(1).await), [20]);
        }
        reader.close().await;
    }
}

/// Checks that a second start moves the position, forwards and backwards, and that no record of the previous position follows.
pub async fn a_start_again_moves(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    bench.publish_numbers(0..2_000).await;
    let mut reader = bench.unstarted("g").await;
    reader.start(bench.partition(0), Some(500));
    within("reading", reader.turn()).await;
    for start in [100, 1_900, 0, 1_000] {
        reader.take();
        reader.start(bench.partition(0), Some(start));
        reads_on(&mut reader, start).await;
        // The position of a paused partition moves too.
        reader.subscription.pause(&[bench.partition(0)]);
        reader.start(bench.partition(0), Some(start + 50));
        reader.is_silent().await;
        reader.subscription.resume(&[bench.partition(0)]);
        reads_on(&mut reader, start + 50).await;
    }
}

/// Checks that the next records are those from `start` on.
async fn reads_on(reader: &mut Reader, start: i64) {
    let mut read = Vec::new();
    within("reading", async {
        while read.len() < 50 {
            reader.turn().await;
            read.extend(reader.take().iter().map(|received| received.offset));
        }
    })
    .await;
    assert_eq!(read, (start..).take(read.len()).collect::<Vec<_>>());
}

/// Checks that starting a partition of another member is not an error and delivers nothing.
pub async fn a_foreign_partition_cannot_be_started(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    bench.publish_numbers(0..10).await;
    let mut owner = bench.reader("g").await;
    owner.read(10).await;
    let mut idle = bench.reader("g").await;
    idle.start(bench.partition(0), Some(0));
    idle.is_silent().await;
    bench.publish_numbers(10..20).await;
    assert_eq!(numbers(&owner.read(10).await), (10..20).collect::<Vec<_>>());
}

/// Checks that a start beyond the end is reported as a gap, delivers nothing, and can be repeated at a valid offset.
pub async fn a_start_behind_the_end_is_a_gap(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    bench.publish_numbers(0..10).await;
    let mut reader = bench.unstarted("g").await;
    reader.start(bench.partition(0), Some(15));
    assert_eq!(reader.gap().await, (15, 0, 10));
    bench.publish_numbers(10..20).await;
    reader.is_silent().await;
    reader.start(bench.partition(0), Some(5));
    assert_eq!(numbers(&reader.read(15).await), (5..20).collect::<Vec<_>>());
}

/// Checks that a start at a removed record is reported as a gap, delivers nothing, and can be repeated at a valid offset. `remove` removes
/// the records before an offset. [`all`](super::all) does not run this check, because a transport has no call for that.
pub async fn removed_records_are_a_gap(log: Arc<dyn Transport>, remove: impl AsyncFn(&TopicPartition, i64)) {
    let bench = Bench::new(log, 1).await;
    bench.publish_numbers(0..20).await;
    remove(&bench.partition(0), 7).await;
    let mut reader = bench.unstarted("g").await;
    for wanted in [0, 6] {
        reader.start(bench.partition(0), Some(wanted));
        assert_eq!(reader.gap().await, (wanted, 7, 20));
    }
    reader.is_silent().await;
    reader.start(bench.partition(0), Some(7));
    assert_eq!(numbers(&reader.read(13).await), (7..20).collect::<Vec<_>>());
    // A group that has not committed anything begins at the oldest record.
    let mut late = bench.reader("late").await;
    assert_eq!(numbers(&late.read(13).await), (7..20).collect::<Vec<_>>());
}
